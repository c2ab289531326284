"""Faults put back: with each of them the campaign has to fail.

A control replaces the part of the package that keeps the fault out by one that does not.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, NamedTuple


class Control(NamedTuple):
    """A fault that can be put back.

    Attributes:
      kind: of the inputs that find it.
      faults: the mutations that show it, for a search that tries no others.
      verdicts: the failures that count as having found it.
      put_back: makes the fault, while it is entered.
    """

    kind: str
    faults: tuple[str, ...]
    verdicts: tuple[str, ...]
    put_back: Callable[[], AbstractContextManager[Any]]


CONTROLS: dict[str, Control] = {}
