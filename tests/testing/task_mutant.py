"""Table of mutants of tasks: one mistake each, and the check that detects it."""

from collections.abc import Callable
from typing import Any, NamedTuple

from rnnjax.tasks import Task


class TaskMutant(NamedTuple):
    """A task with one mistake.

    Attributes:
      task: its class.
      check: name of the check that detects it.
      message: part of the message of its error.
    """

    task: type[Task]
    check: str
    message: str


TASK_MUTANTS: dict[str, TaskMutant] = {}


def mutant(check: str, message: str = "") -> Callable[[Any], Any]:
    """Registers a task as a mutant."""

    def register(task):
        TASK_MUTANTS[task.__name__] = TaskMutant(task, check, message)
        return task

    return register
