"""An invariant of tasks: a name, a statement, the usual cause of a violation, a check function."""

import dataclasses
from collections.abc import Callable

from rnnjax.testing.task_harness import TaskHarness

TaskCheckFunction = Callable[[TaskHarness], None]


@dataclasses.dataclass(frozen=True)
class TaskInvariant:
    """A property that every correct task has.

    Attributes:
      name: of the check function.
      statement: the property in one line.
      cause: the usual cause of a violation, a sentence.
      check: raises a `ViolationError` if the task violates the property, and a
        `NotApplicableError` if the property says nothing about it.
    """

    name: str
    statement: str
    cause: str
    check: TaskCheckFunction


def task_invariant(statement: str, cause: str) -> Callable[[TaskCheckFunction], TaskInvariant]:
    """Turns a check function into a `TaskInvariant` of its name."""
    return lambda check: TaskInvariant(check.__name__, statement, cause, check)
