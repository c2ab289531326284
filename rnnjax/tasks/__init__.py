"""Tasks: a model, its data, its loss and its metrics."""

from rnnjax.tasks.classification import ClassificationTask
from rnnjax.tasks.language_modeling import LanguageModelingTask
from rnnjax.tasks.long_memory import MemoryTask
from rnnjax.tasks.task import Task
from rnnjax.tasks.translation import TranslationTask

TASKS: dict[str, type[Task]] = {
    "classification": ClassificationTask,
    "language_modeling": LanguageModelingTask,
    "memory": MemoryTask,
    "translation": TranslationTask,
}
"""By the names that `config.task` has for them."""

__all__ = [
    "TASKS",
    "ClassificationTask",
    "LanguageModelingTask",
    "MemoryTask",
    "Task",
    "TranslationTask",
]
