"""Table of mutants: cells with one mistake, and the check that detects it first."""

from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn


class Mutant(NamedTuple):
    """A cell with one mistake.

    Attributes:
      cell: an instance.
      check: name of the first check that fails.
      message: part of the message of its error.
    """

    cell: nn.Module
    check: str
    message: str


MUTANTS: dict[str, Mutant] = {}


def mutant(check: str, message: str = "", **options) -> Callable:
    """Registers a class of cells as a mutant."""

    def register(cell_class):
        assert cell_class.__name__ not in MUTANTS, cell_class
        MUTANTS[cell_class.__name__] = Mutant(cell_class(features=4, **options), check, message)
        return cell_class

    return register
