"""The keys of a config that the language modeling task reads."""

import itertools

from rnnjax.config.constraints import integers
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
    if config.model.output.cutoffs:
        _check_cutoffs(config)


def _check_cutoffs(config: Config) -> None:
    output, size = config.model.output, config.data.vocabulary.size
    cutoffs = integers(output.cutoffs)
    if any(second <= first for first, second in itertools.pairwise((*cutoffs, size))):
        raise ValueError(
            f"model.output.cutoffs is {output.cutoffs!r} and data.vocabulary.size {size}: each is "
            "the first token id of a cluster, so give increasing numbers below the size of the "
            "vocabulary, or leave model.output.cutoffs=''"
        )
    options = {
        "model.output.samples": output.samples,
        "model.output.soft_cap": output.soft_cap,
        "model.embedding.tied": config.model.embedding.tied,
    }
    if used := [key for key, value in options.items() if value]:
        raise ValueError(
            f"model.output.cutoffs and {used[0]} are set: {used[0]} is of a linear output layer, "
            "and an adaptive softmax has clusters of their own kernels, so leave one of them out"
        )


SCHEMA = TaskSchema(
    name="language_modeling",
    keys=(
        *(*TEXT_KEYS, *FILE_KEYS, *CORPUS_KEYS, *RECURRENT_KEYS, *EMBEDDING_KEYS),
        *("data.sequence_length", "data.restarts", "data.length_variation"),
        *("model.output.soft_cap", "model.output.samples", "model.output.cutoffs"),
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
