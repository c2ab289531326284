"""An invariant of cells: a name, a statement and a check function."""

import dataclasses
from collections.abc import Callable
from typing import Any

from rnnjax.testing.check_case import CheckCase

FORWARD, BOTH = (False,), (False, True)

Check = Callable[[CheckCase], None]


@dataclasses.dataclass(frozen=True)
class Invariant:
    """A property that every correct cell has.

    Attributes:
      name: of the check function.
      statement: the property in one line.
      cause: the usual cause of a violation, in one sentence.
      check: raises a `ViolationError` if a case violates the property, and a `NotApplicableError`
        if the property says nothing about the cell.
      directions: values of `reverse`, each checked with every engine; () for a property of the
        cell alone.
      all_masks: check under many masks instead of no masked step.
      any_size: whether the property holds for a single row and step too, so that a smaller
        counterexample is meaningful.
      training: check with a dropout key as well, if that changes the cell.
      all_sizes: check larger batches of several sizes, in place of the default one.
    """

    name: str
    statement: str
    cause: str
    check: Check
    directions: tuple[bool, ...] = ()
    all_masks: bool = False
    any_size: bool = True
    training: bool = False
    all_sizes: bool = False


def invariant(statement: str, cause: str, **options: Any) -> Callable[[Check], Invariant]:
    """Turns a check function into an `Invariant` of its name, with options by their names."""
    return lambda check: Invariant(check.__name__, statement, cause, check, **options)
