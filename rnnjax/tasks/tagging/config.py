"""The keys of a config that the tagging task reads."""

from typing import Literal

import pydantic

from rnnjax.config.schema import Config
from rnnjax.config.sections import ConfigSection
from rnnjax.config.task_schema import (
    DIRECTION_KEYS,
    EMBEDDING_KEYS,
    FILE_KEYS,
    RECURRENT_KEYS,
    SPLIT_KEYS,
    TaskSchema,
)

MAX_CHARACTERS = 64
"""Limit of `characters_per_token`."""


class TaggingConfig(ConfigSection):
    """A label for each token.

    `data.file` and `data.test_file` are columns of CoNLL (`.conllu` for CoNLL-U) or JSON Lines
    (`.jsonl`). Without them, each character of the source files of the installed Python libraries
    is labelled by its lexical token.
    """

    tokens: str = ""
    """Column of the tokens, counted from 0, or their field in JSON Lines; '' for the first column
    (CoNLL-U: 1) or 'tokens'."""
    labels: str = ""
    """Column of the labels, -1 for the last, or their field in JSON Lines; '' for the last column
    (CoNLL-U: 3) or 'labels'."""
    output: Literal["linear", "crf"] = "linear"
    """Whether labels are predicted one by one, or together by a linear-chain conditional random
    field."""
    character_features: int = pydantic.Field(default=0, ge=0, le=4096)
    """Size of an embedding of characters, and of the bidirectional layer that reads those of each
    token; 0 for tokens alone."""
    characters_per_token: int = pydantic.Field(default=16, ge=1, le=MAX_CHARACTERS)
    """Number of characters of a token that are read, from its start."""


def _check(config: Config) -> None:
    data = config.data
    if bool(data.file) != bool(data.test_file):
        raise ValueError(
            f"data.file is {data.file!r} and data.test_file {data.test_file!r}: set both, or none "
            "for the source files of the installed libraries"
        )
    if not config.model.mask:
        raise ValueError("model.mask is False, and a tagger needs a mask: set model.mask to True")


SCHEMA = TaskSchema(
    name="tagging",
    section=TaggingConfig,
    keys=(
        *(*FILE_KEYS, *SPLIT_KEYS, *RECURRENT_KEYS, *DIRECTION_KEYS, *EMBEDDING_KEYS),
        *("data.take", "data.vocabulary.size", "data.vocabulary.rows"),
        "model.regularization.embedding_dropout",
    ),
    check=_check,
    metrics={
        "macro_f1": "higher",
        "span_precision": "higher",
        "span_recall": "higher",
        "span_f1": "higher",
    },
)
