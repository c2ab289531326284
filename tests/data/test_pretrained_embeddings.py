"""Pretrained embeddings: the vectors of each vocabulary, and their coverage."""

import numpy as np
import pytest

from rnnjax.config import parse
from rnnjax.config.sections import EmbeddingConfig
from rnnjax.data.corpora import Corpus, CorpusSplit, TextColumn
from rnnjax.data.pretrained_embeddings import check_word_vectors, load_word_vectors
from rnnjax.data.vocabulary import Vocabulary
from rnnjax.errors import InputError
from rnnjax.tasks.classification.data import make_dataset

TEXTS = ["Oil prices fall", "oil falls, oil rises", "don't panic", "quiet"]


def make(config, texts, vocabulary_texts):
    """Returns a data set of texts, with a vocabulary fitted on other texts."""
    encoded = [text.encode() for text in texts]
    offsets = np.cumsum([0, *map(len, encoded)]).astype(np.int64)
    column = TextColumn(np.frombuffer(b"".join(encoded), np.uint8), offsets)
    split = CorpusSplit(np.zeros(len(texts), np.int32), {"title": column})
    corpus = Corpus("made up", "These tests.", "", "0", ("a",), {"train": split, "test": split})
    return make_dataset(
        config, corpus, Vocabulary.fit(vocabulary_texts, config.data.vocabulary.size)
    )


@pytest.fixture
def config(tmp_path):
    """A config that names a file of vectors."""
    path = tmp_path / "vectors.txt"
    path.write_text("oil 1 2\nPrices 3 4\nDon't 5 6\nnothing 7 8\nunk 9 9\n")
    embedding = {"path": str(path), "features": 2}
    data = {"text": "title", "vocabulary": {"size": 12}}
    return parse({"data": data, "model": {"embedding": embedding}})


def test_vectors_follow_each_vocabulary(config, capsys):
    datasets = [make(config, TEXTS, TEXTS), make(config, TEXTS, TEXTS[2:])]
    results = load_word_vectors(config.model.embedding, 12, datasets)
    expected = [{"oil": [1, 2], "prices": [3, 4], "dont": [5, 6]}, {"dont": [5, 6]}]
    for vectors, dataset, rows in zip(results, datasets, expected, strict=True):
        assert vectors.table.shape == (12, 2)
        assert vectors.table.dtype == np.float32
        words = [*dataset.vocabulary.words, *[""] * 12][:12]
        assert [word in rows for word in words] == vectors.has_vector.tolist()
        for word, row in zip(words, vectors.table, strict=True):
            assert row.tolist() == rows.get(word, [0, 0])
    full, partial = (vectors.metadata for vectors in results)
    assert full["fingerprint"] == partial["fingerprint"]
    assert (full["words"], partial["words"]) == (3, 1)
    # Of oil, prices, fall, falls, rises, dont, panic, quiet; of dont, panic, quiet.
    assert (full["share_of_vocabulary"], partial["share_of_vocabulary"]) == (3 / 8, 1 / 3)
    # Of ten tokens, oil thrice, prices and dont.
    assert (full["share_of_tokens"], partial["share_of_tokens"]) == (5 / 10, 1 / 10)
    message = capsys.readouterr().err
    assert "vectors.txt has vectors for 3 tokens, 37.5 % of the vocabulary and 50.0 %" in message


def test_equal_coverage_is_reported_once(config, capsys):
    dataset = make(config, TEXTS, TEXTS)
    load_word_vectors(config.model.embedding, 12, [dataset, dataset, dataset])
    assert capsys.readouterr().err.count("\n") == 1


def test_vectors_without_vocabulary_words_are_refused(config):
    with pytest.raises(InputError, match=r"none of the 1 tokens of the vocabulary \(quiet"):
        load_word_vectors(config.model.embedding, 12, [make(config, TEXTS, TEXTS[3:])])


def test_path_expands_home_folder(config, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    check_word_vectors(EmbeddingConfig(path="~/vectors.txt", features=2))
    with pytest.raises(InputError, match=rf"no file {tmp_path}/absent.txt"):
        check_word_vectors(EmbeddingConfig(path="~/absent.txt", features=2))
