"""Keys that only some tasks read; another task refuses them."""

from collections.abc import Mapping
from typing import Any

_TASKS_BY_KEYS: dict[tuple[str, ...], tuple[str, ...]] = {
    ("classification",): (
        "data.max_tokens",
        "data.bucketing",
        "data.vocabulary.text",
        "model.bidirectional",
        "model.merge",
        "model.pooling",
        "model.mask",
        "model.regularization.adversarial",
    ),
    ("language_modeling",): ("data.file", "data.sequence_length", "data.restarts"),
    ("memory",): ("data.memory",),
    ("translation",): ("translation",),
    ("classification", "language_modeling"): (
        "data.corpus",
        "data.fallback",
        "data.text",
        "model.embedding.path",
        "model.embedding.trainable",
        "model.regularization.embedding_dropout",
    ),
    ("classification", "translation"): ("data.buckets",),
    ("language_modeling", "translation"): ("model.embedding.tied",),
    ("classification", "language_modeling", "memory"): (
        "data.validation",
        "model.learned_initial_state",
        "model.engine",
        "model.remat",
        "model.regularization.variational_dropout",
        "model.regularization.recurrent_dropout",
        "model.regularization.zoneout",
        "model.regularization.weight_dropout",
    ),
    ("classification", "language_modeling", "translation"): (
        "data.dir",
        "data.take",
        "data.shuffle",
        "data.vocabulary.unit",
        "data.vocabulary.size",
        "data.vocabulary.rows",
        "model.embedding.features",
    ),
}
"""Keys, or sections with all their keys, by the tasks that read them. All tasks read the rest."""


def check_task_keys(task: str, values: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """Raises ValueError if a key that the task does not read has another value than its default.

    Args:
      task: of the config.
      values: of the config, by the path of the key.
      defaults: of the schema, likewise.
    """
    for key, value in values.items():
        tasks = _tasks_of(key)
        if value != defaults[key] and tasks and task not in tasks:
            names = " and ".join(map(repr, tasks))
            raise ValueError(
                f"{key} is {value!r}, which is read by the task {names} alone, and task is "
                f"{task!r}; leave it out, or set task={tasks[0]!r}"
            )


def _tasks_of(key: str) -> tuple[str, ...]:
    """Returns the tasks that read a key; () for all."""
    for tasks, paths in _TASKS_BY_KEYS.items():
        if any(f"{key}.".startswith(f"{path}.") for path in paths):
            return tasks
    return ()
