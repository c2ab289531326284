"""What an embedding begins with, where a config names a file of word vectors."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32

from rnnjax.config import Config
from rnnjax.data.dataset import TextDataset
from rnnjax.data.vocabulary import UNKNOWN
from rnnjax.data.word_vector_files import check_beginning, read_vectors
from rnnjax.errors import InputError
from rnnjax.reporting.progress import write_message


@dataclasses.dataclass(frozen=True)
class WordVectors:
    """What an embedding begins with.

    Attributes:
      table: the vector of each token; zeros where there is none.
      has_vector: whether there is one.
      metadata: what a run's files say of them, ready for JSON.
    """

    table: Float32[np.ndarray, "tokens features"]
    has_vector: Bool[np.ndarray, " tokens"]
    metadata: dict[str, Any]


def load_word_vectors(config: Config, datasets: Sequence[TextDataset]) -> list[WordVectors]:
    """Returns for each data set the vectors of its vocabulary, and says how much they cover.

    The file is read once. Padding and unknown have no vector in it.

    Args:
      config: names the file.
      datasets: of the config, each with a vocabulary.

    Raises:
      InputError: as `read_vectors`, or none of the words is in the file.
    """
    features, path = config.model.embedding.features, _path(config)
    known = [dataset.vocabulary.words for dataset in datasets]
    wanted = {word for words in known for word in words[UNKNOWN + 1 :]}
    normalize = datasets[0].vocabulary.normalize
    vectors, fingerprint = read_vectors(path, wanted, features, normalize)
    if not vectors:
        raise InputError(
            f"config.model.embedding.path: {path} has none of the {len(wanted):,} tokens of the "
            f"vocabulary ({', '.join(sorted(wanted)[:3])} ...); give vectors of their language and "
            "unit (config.data.vocabulary.unit)"
        )
    made = []
    for words, dataset in zip(known, datasets, strict=True):
        rows = np.zeros((config.data.vocabulary.size, features), np.float32)
        found = np.zeros(len(rows), bool)
        for number, word in enumerate(words[UNKNOWN + 1 :], start=UNKNOWN + 1):
            if word in vectors:
                rows[number], found[number] = vectors[word], True
        tokens = dataset.train.tokens
        about = {
            "fingerprint": fingerprint,
            "words": int(found.sum()),
            "share_of_vocabulary": float(found[UNKNOWN + 1 : len(words)].mean()),
            "share_of_tokens": float(found[tokens].mean()) if len(tokens) else 0.0,
        }
        made.append(WordVectors(rows, found, about))
    for line in dict.fromkeys(_coverage(path, each.metadata) for each in made):
        write_message(line)
    return made


def _coverage(path: Path, about: dict[str, Any]) -> str:
    return (
        f"{path.name} has vectors for {about['words']:,} tokens, "
        f"{100 * about['share_of_vocabulary']:.1f} % of the vocabulary and "
        f"{100 * about['share_of_tokens']:.1f} % of the training text; the others begin at random"
    )


def check_word_vectors(config: Config) -> None:
    """Raises InputError if the file cannot be read or begins otherwise than the config needs it."""
    check_beginning(_path(config), config.model.embedding.features)


def _path(config: Config) -> Path:
    return Path(config.model.embedding.path)
