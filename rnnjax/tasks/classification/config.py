"""The keys of a config that the classification task reads."""

from rnnjax.config.schema import Config
from rnnjax.config.task_schema import (
    CORPUS_KEYS,
    DIRECTION_KEYS,
    EMBEDDING_KEYS,
    FILE_KEYS,
    RECURRENT_KEYS,
    TEXT_KEYS,
    TaskSchema,
)


def _check(config: Config) -> None:
    data = config.data
    if data.multi_label and not data.file:
        raise ValueError(
            "data.multi_label is True and data.file is '': the rows of a corpus have one class "
            "each, so set data.file, or data.multi_label=False"
        )
    if data.multi_label and data.class_weights:
        raise ValueError(
            f"data.class_weights is {data.class_weights!r} and data.multi_label is True: weights "
            "are by the one class of a row, so leave one of them out"
        )


SCHEMA = TaskSchema(
    name="classification",
    keys=(
        *(*TEXT_KEYS, *FILE_KEYS, *CORPUS_KEYS, *RECURRENT_KEYS, *DIRECTION_KEYS, *EMBEDDING_KEYS),
        *("data.label", "data.classes", "data.test", "data.class_weights"),
        *("data.multi_label", "data.label_separator"),
        *("data.max_tokens", "data.bucketing", "data.buckets", "data.vocabulary.text"),
        *("model.pooling", "model.mask"),
        *("model.regularization.embedding_dropout", "model.regularization.adversarial"),
    ),
    check=_check,
    metrics={"macro_f1": "higher", "micro_f1": "higher"},
    is_default=True,
)
