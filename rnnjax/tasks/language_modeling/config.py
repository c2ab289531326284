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
    for key in ("validation_file", "test_file"):
        if getattr(config.data, key) and not config.data.file:
            raise ValueError(
                f"data.{key} is set and data.file is '': the training text is read from data.file, "
                f"so set it, or leave data.{key} out"
            )
    if config.data.validation_file and config.data.validation:
        raise ValueError(
            f"data.validation_file is set and data.validation is {config.data.validation}: the "
            "validation split is a file or a part of the training text, so set data.validation=0, "
            "or leave data.validation_file out"
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
        *("data.file", "data.validation_file", "data.test_file"),
        *("data.sequence_length", "data.restarts", "data.length_variation"),
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
