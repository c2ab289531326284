"""Pretrained vectors of the tokens of a vocabulary, read from a file of word vectors."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32

from rnnjax.config.sections import EmbeddingConfig
from rnnjax.data.dataset import TextDataset
from rnnjax.data.vocabulary import UNKNOWN, count_tokens
from rnnjax.data.word_vector_files import check_vector_format, read_vectors
from rnnjax.errors import InputError
from rnnjax.reporting.progress import write_message


@dataclasses.dataclass(frozen=True)
class WordVectors:
    """Initial values of an embedding.

    Attributes:
      table: the vector of each token; zeros where the file has none.
      has_vector: whether the file has one.
      metadata: digest of the file and coverage of the vocabulary, ready for JSON.
    """

    table: Float32[np.ndarray, "tokens features"]
    has_vector: Bool[np.ndarray, " tokens"]
    metadata: dict[str, Any]


def load_word_vectors(
    config: EmbeddingConfig, vocab_size: int, datasets: Sequence[TextDataset]
) -> list[WordVectors]:
    """Loads the vectors of the vocabulary of each data set, and reports their coverage.

    The file is read once. Padding and unknown have no vector in it.

    Args:
      config: names the file, and the size of a vector.
      vocab_size: rows of an embedding.
      datasets: data sets with a vocabulary.

    Raises:
      InputError: as `read_vectors`, or none of the words is in the file.
    """
    path = Path(config.path)
    vocabularies = [dataset.vocabulary.words for dataset in datasets]
    words = {word for vocabulary in vocabularies for word in vocabulary[UNKNOWN + 1 :]}
    vectors, fingerprint = read_vectors(
        path, words, config.features, datasets[0].vocabulary.normalize
    )
    if not vectors:
        raise InputError(
            f"config.model.embedding.path: {path} has none of the {len(words):,} tokens of the "
            f"vocabulary ({', '.join(sorted(words)[:3])} ...); give vectors of their language and "
            "unit (config.data.vocabulary.unit)"
        )
    results = []
    for vocabulary, dataset in zip(vocabularies, datasets, strict=True):
        table = np.zeros((vocab_size, config.features), np.float32)
        has_vector = np.zeros(vocab_size, bool)
        for number, word in enumerate(vocabulary[UNKNOWN + 1 :], start=UNKNOWN + 1):
            if word in vectors:
                table[number], has_vector[number] = vectors[word], True
        counts = count_tokens(dataset.train.tokens, vocab_size)
        metadata = {
            "fingerprint": fingerprint,
            "words": int(has_vector.sum()),
            "share_of_vocabulary": float(has_vector[UNKNOWN + 1 : len(vocabulary)].mean()),
            "share_of_tokens": float(counts[has_vector].sum() / max(counts.sum(), 1)),
        }
        results.append(WordVectors(table, has_vector, metadata))
    for line in dict.fromkeys(_coverage(path, result.metadata) for result in results):
        write_message(line)
    return results


def _coverage(path: Path, metadata: dict[str, Any]) -> str:
    return (
        f"{path.name} has vectors for {metadata['words']:,} tokens, "
        f"{100 * metadata['share_of_vocabulary']:.1f} % of the vocabulary and "
        f"{100 * metadata['share_of_tokens']:.1f} % of the training text; the others begin at "
        "random"
    )


def check_word_vectors(config: EmbeddingConfig) -> None:
    """Raises InputError if the file is unreadable or its vectors differ from `config.features`."""
    check_vector_format(Path(config.path), config.features)
