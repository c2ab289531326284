"""Tasks: a model, its data, its loss and its metrics."""

from rnnjax.tasks.classification import Classification
from rnnjax.tasks.language_modeling import LanguageModeling
from rnnjax.tasks.memory import Memory
from rnnjax.tasks.task import Task
from rnnjax.tasks.translation import Translation

TASKS: dict[str, type[Task]] = {
    "classification": Classification,
    "language_modeling": LanguageModeling,
    "memory": Memory,
    "translation": Translation,
}
"""By the names that `config.task` has for them."""

__all__ = ["TASKS", "Classification", "LanguageModeling", "Memory", "Task", "Translation"]
