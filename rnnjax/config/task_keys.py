"""Which tasks read which keys: a key that says nothing to a task is refused there."""

_READ_BY: dict[tuple[str, ...], tuple[str, ...]] = {
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
"""The keys, or whole sections, that mean something to some tasks alone, by these."""


def readers(key: str, task: str) -> tuple[str, ...]:
    """Returns the tasks that read a key, if a task is not one of them; otherwise nothing."""
    for tasks, paths in _READ_BY.items():
        if task not in tasks and any(f"{key}.".startswith(f"{path}.") for path in paths):
            return tasks
    return ()
