"""The table of planted mistakes: a cell with one mistake, and the check that must find it first."""

from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn


class Planted(NamedTuple):
    """A cell with one mistake.

    Attributes:
      cell: the cell.
      verdict: the name of the check that must find it, before any other does.
      breaks: the message of that check has these words.
    """

    cell: nn.Module
    verdict: str
    breaks: str


PLANTED: dict[str, Planted] = {}


def planted(verdict: str, breaks: str = "", **options) -> Callable:
    """Puts the cell of a class into the table."""

    def put(made):
        assert made.__name__ not in PLANTED, made
        PLANTED[made.__name__] = Planted(made(features=4, **options), verdict, breaks)
        return made

    return put
