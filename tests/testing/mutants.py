"""Tables of mutants: cells with one mistake, and the check that detects it first."""

from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn


class Mutant(NamedTuple):
    """A cell with one mistake.

    Attributes:
      cell: an instance.
      check: name of the first check that fails.
      message: part of the message of its error.
      twin: class of the correct cell that the mistake was planted in; None if it is not named.
      quick: whether a quick check, of fewer sizes and in one process, detects it.
    """

    cell: nn.Module
    check: str
    message: str
    twin: type | None = None
    quick: bool = True


MUTANTS: dict[str, Mutant] = {}
"""Mistakes that a batch of six rows and seven steps shows."""

PLANTED: dict[str, Mutant] = {}
"""Mistakes in sizes, draws and numbers, which show in larger batches, in other keys, and so on."""


def mutant(check: str, message: str = "", **options) -> Callable:
    """Registers a class of cells as a mutant."""

    def register(cell_class):
        assert cell_class.__name__ not in MUTANTS, cell_class
        MUTANTS[cell_class.__name__] = Mutant(cell_class(features=4, **options), check, message)
        return cell_class

    return register


def planted(
    check: str, message: str = "", *, twin: type, quick: bool = True, **options
) -> Callable:
    """Registers a class of cells as a planted mistake, with the correct cell beside it."""

    def register(cell_class):
        assert cell_class.__name__ not in {**MUTANTS, **PLANTED}, cell_class
        cell = cell_class(features=4, **options)
        PLANTED[cell_class.__name__] = Mutant(cell, check, message, twin, quick)
        return cell_class

    return register
