"""All mutants of tasks, by name."""

from . import data_mutants, loss_mutants, run_mutants  # noqa: F401  they register their mutants
from .task_mutant import TASK_MUTANTS

__all__ = ["TASK_MUTANTS"]
