"""The keys of a config that the classification task reads."""

from rnnjax.config.task_schema import (
    CORPUS_KEYS,
    DIRECTION_KEYS,
    EMBEDDING_KEYS,
    FILE_KEYS,
    RECURRENT_KEYS,
    TEXT_KEYS,
    TaskSchema,
)

SCHEMA = TaskSchema(
    name="classification",
    keys=(
        *(*TEXT_KEYS, *FILE_KEYS, *CORPUS_KEYS, *RECURRENT_KEYS, *DIRECTION_KEYS, *EMBEDDING_KEYS),
        *("data.label", "data.classes", "data.test"),
        *("data.max_tokens", "data.bucketing", "data.buckets", "data.vocabulary.text"),
        *("model.pooling", "model.mask"),
        *("model.regularization.embedding_dropout", "model.regularization.adversarial"),
    ),
    metrics={"macro_f1": "higher"},
    is_default=True,
)
