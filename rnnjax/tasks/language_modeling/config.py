"""The keys of a config that the language modeling task reads."""

from rnnjax.config.schema import Config
from rnnjax.config.task_schema import (
    CORPUS_KEYS,
    EMBEDDING_KEYS,
    FILE_KEYS,
    RECURRENT_KEYS,
    TEXT_KEYS,
    TaskSchema,
)


def _check(config: Config) -> None:
    if config.model.regularization.recurrent_dropout:
        raise ValueError(
            "model.regularization.recurrent_dropout is set and task is 'language_modeling': it "
            "draws once for a sequence, which running text is from one end to the other, so "
            "set model.regularization.weight_dropout, which draws once a batch"
        )


SCHEMA = TaskSchema(
    name="language_modeling",
    keys=(
        *(*TEXT_KEYS, *FILE_KEYS, *CORPUS_KEYS, *RECURRENT_KEYS, *EMBEDDING_KEYS),
        *("data.sequence_length", "data.restarts", "data.length_variation"),
        *("model.output.soft_cap", "model.output.samples"),
        *("model.embedding.tied", "model.regularization.embedding_dropout"),
        *("model.regularization.activation", "model.regularization.temporal_activation"),
    ),
    check=_check,
    ordered=True,
    metrics={
        "bits": "lower",
        "perplexity": "lower",
        "bits_per_character": "lower",
        "bits_per_byte": "lower",
    },
    vocabulary_free=("bits_per_character", "bits_per_byte"),
    recorded={"model.initialization": "keras"},
)
