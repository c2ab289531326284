"""The keys of a config that the language modeling task reads."""

from rnnjax.config.schema import Config
from rnnjax.config.task_schema import (
    CORPUS_KEYS,
    EMBEDDING_KEYS,
    RECURRENT_KEYS,
    TEXT_KEYS,
    TaskSchema,
)


def _check(config: Config) -> None:
    if config.data.file and config.data.dir:
        raise ValueError(
            "data.file and data.dir are set: the text is read from one of them, so leave the "
            "other out"
        )
    if config.model.regularization.recurrent_dropout:
        raise ValueError(
            "model.regularization.recurrent_dropout is set and task is 'language_modeling': it "
            "draws once for a sequence, which running text is from one end to the other, so "
            "set model.regularization.weight_dropout, which draws once a batch"
        )


SCHEMA = TaskSchema(
    name="language_modeling",
    keys=(
        *(*TEXT_KEYS, *CORPUS_KEYS, *RECURRENT_KEYS, *EMBEDDING_KEYS),
        *("data.file", "data.sequence_length", "data.restarts", "data.length_variation"),
        "data.length_variation",
        *("model.embedding.tied", "model.regularization.embedding_dropout"),
        *("model.regularization.activation", "model.regularization.temporal_activation"),
    ),
    check=_check,
    ordered=True,
    metrics={"bits": "lower", "perplexity": "lower"},
    vocabulary_free=(),
    recorded={"model.initialization": "keras"},
)
