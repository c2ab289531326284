"""Data sets of labelled text: rows of each split, vocabulary and padded lengths."""

import re

import numpy as np
import pytest

from rnnjax.config import parse
from rnnjax.config.sections import DataConfig
from rnnjax.data.batches import VALIDATION, permutation
from rnnjax.data.corpora import Corpus, CorpusSplit, TextColumn
from rnnjax.data.vocabulary import Vocabulary
from rnnjax.errors import InputError
from rnnjax.tasks.classification.data import make_batches, make_dataset

TRAIN, TEST = 40, 11


def column(texts):
    """Returns texts as a column of a corpus."""
    encoded = [text.encode() for text in texts]
    offsets = np.cumsum([0, *map(len, encoded)]).astype(np.int64)
    return TextColumn(np.frombuffer(b"".join(encoded), np.uint8), offsets)


def make_split(name, rows):
    """Returns a split whose title of row 7 begins with 'train7' or 'test7'."""
    titles = [f"{name}{row} title" for row in range(rows)]
    descriptions = [f"{name}d{row}" + " word" * (row % 5) for row in range(rows)]
    labels = np.arange(rows, dtype=np.int32) % 3
    return CorpusSplit(labels, {"title": column(titles), "description": column(descriptions)})


CORPUS = Corpus(
    name="made up",
    source="These tests.",
    fallback="",
    fingerprint="0",
    classes=("a", "b", "c"),
    splits={"train": make_split("train", TRAIN), "test": make_split("test", TEST)},
)


def make(**data):
    """Returns the data set of a config; keys of the vocabulary begin with 'vocabulary_'."""
    seed = data.pop("seed", 0)
    prefix = "vocabulary_"
    vocabulary = {
        key.removeprefix(prefix): data.pop(key) for key in [*data] if key.startswith(prefix)
    }
    config = {"seed": seed, "batch_size": 4, "data": {**data, "vocabulary": vocabulary}}
    return make_dataset(parse(config), CORPUS)


def first_words(dataset):
    """Returns the first word of each training example, in the order of the batches."""
    sequences = dataset.train.sequences
    first = sequences.values[sequences.offsets[:-1]]
    return [dataset.vocabulary.tokenizer.id_to_token(number) or "" for number in first]


def words_of(dataset):
    """Returns the words of the vocabulary of a data set."""
    return {word for word in dataset.vocabulary.words if not word.startswith("[")}


def test_rows_stay_in_order():
    dataset = make(vocabulary_text="title")
    assert dataset.validation is None
    assert first_words(dataset) == [f"train{row}" for row in range(TRAIN)]
    assert dataset.train.targets.tolist() == [row % 3 for row in range(TRAIN)]
    assert dataset.test.targets.tolist() == [row % 3 for row in range(TEST)]
    assert len(dataset.test.sequences) == TEST


def test_take_limits_train_and_test_rows():
    dataset = make(take=7)
    assert first_words(dataset) == [f"train{row}" for row in range(7)]
    assert dataset.test.targets.tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert "train7" not in words_of(dataset)
    assert len(make(take=30).test.targets) == TEST


def test_text_joins_the_configured_fields():
    dataset = make(text="description", vocabulary_text="title+description")
    assert first_words(dataset)[3] == "traind3"
    assert dataset.train.sequences.lengths[3] == 4
    both = make()
    assert both.train.sequences.lengths[3] == 6


def test_validation_split_is_held_out_of_training():
    dataset = make(validation=0.25)
    assert dataset.validation is not None
    # Words outside the training split are unknown: labels identify the rows instead.
    assert len(dataset.validation.targets) == 10
    assert len(dataset.train.targets) == 30
    train_rows = {int(word.removeprefix("train")) for word in first_words(dataset)}
    held_out = sorted(set(range(TRAIN)) - train_rows)
    assert len(train_rows) == 30
    assert dataset.validation.targets.tolist() == [row % 3 for row in held_out]
    assert dataset.validation.sequences.lengths.tolist() == [3 + row % 5 for row in held_out]


def test_validation_split_depends_on_seed():
    def train_words(seed):
        return first_words(make(validation=0.25, seed=seed))

    assert train_words(1) == train_words(1)
    assert len({tuple(train_words(seed)) for seed in range(5)}) == 5
    assert train_words(1) != [f"train{row}" for row in range(30)]


def test_validation_stream_differs_from_those_of_epochs():
    order = permutation(50, 3, VALIDATION).tolist()
    assert all(order != permutation(50, 3, epoch, 0).tolist() for epoch in range(5))


def test_vocabulary_is_fitted_on_training_split():
    dataset = make(validation=0.5)
    train_words = set(first_words(dataset))
    assert {word for word in words_of(dataset) if re.fullmatch(r"train\d+", word)} == train_words
    assert not any(word.startswith("test") for word in words_of(dataset))


def test_vocabulary_is_fitted_on_configured_rows_and_fields():
    titles = make(vocabulary_text="title", vocabulary_rows=5)
    assert words_of(titles) == {"title", *(f"train{row}" for row in range(5))}
    # By default it is fitted on the fields that the network reads.
    assert words_of(make(text="description", vocabulary_rows=2)) == {"traind0", "traind1", "word"}
    held_out = make(validation=0.25, seed=3, vocabulary_text="title", vocabulary_rows=5)
    everything = make(validation=0.25, seed=3)
    first = first_words(everything)[:5]
    assert words_of(held_out) == {"title", *first}


def test_vocabulary_has_configured_size_and_unit():
    assert len(make(vocabulary_size=5).vocabulary) == 5
    assert "title" in words_of(make(vocabulary_size=4))
    assert all(len(word) == 1 for word in words_of(make(vocabulary_unit="character")))


def test_vocabulary_argument_is_used():
    vocabulary = Vocabulary.fit(["word"], 5)
    dataset = make_dataset(parse({}), CORPUS, vocabulary)
    assert dataset.vocabulary is vocabulary
    assert set(dataset.train.sequences.values) == {1, 2}


@pytest.mark.parametrize(("share", "take"), [(0.01, 0), (0.5, 1), (0.1, 4)])
def test_empty_validation_split_is_refused(share, take):
    with pytest.raises(InputError, match=r"config\.data\.validation: .* training rows is 0"):
        make(validation=share, take=take)


def test_only_training_split_is_shuffled():
    dataset = make(validation=0.25, bucketing=False)
    assert dataset.validation is not None
    assert dataset.train.shuffle
    for split in (dataset.validation, dataset.test):
        rows = [split.indices_at(0, step) for step in range(split.steps_per_epoch)]
        assert np.concatenate(rows).tolist() == list(range(len(split.targets)))
    assert not make(shuffle=False).train.shuffle


@pytest.mark.parametrize("bucketing", [True, False])
def test_evaluation_splits_use_boundaries_of_training(bucketing, monkeypatch):
    monkeypatch.setattr("rnnjax.data.batches._COMPILE_COST", 0.0)
    dataset = make(bucketing=bucketing, buckets=3, validation=0.25, shuffle=False)
    assert dataset.validation is not None
    assert 1 < len(dataset.train.boundaries) <= 3
    assert dataset.train.boundaries[-1] == 7
    for split in (dataset.validation, dataset.test):
        assert set(split.boundaries) <= set(dataset.train.boundaries)


def test_compile_cost_limits_boundaries():
    assert make().train.boundaries == (7,)


def test_boundaries_are_extended_to_longest_text():
    vocabulary = Vocabulary.fit(["a"], 5)
    labels = np.zeros(2, np.int32)

    def boundaries(*texts):
        return make_batches(
            DataConfig(), vocabulary.encode(texts), labels, batch_size=16, boundaries=(2, 4)
        ).boundaries

    assert boundaries("a a a a a", "a") == (2, 4, 5)
    assert boundaries("a a a", "a") == (2, 4)
    assert boundaries("a a", "a") == (2,)
    assert boundaries("", "") == (2,)


def test_max_tokens_and_mask_follow_config():
    assert make(max_tokens=2).train.sequences.lengths.max() == 2
    assert make().train.mask_padding
    config = parse({"model": {"mask": False}})
    assert not make_dataset(config, CORPUS).train.mask_padding


def test_describe():
    described = make(validation=0.25).describe()
    assert described["rows"] == {"train": 30, "validation": 10, "test": TEST}
    assert described["classes"] == ["a", "b", "c"]
    assert described["vocabulary"] == 2 + 30 + 30 + len({"title", "word"})
    assert described["unknown_share"] == 0.0
    few = make(vocabulary_text="title", vocabulary_rows=1, text="title")
    # Of two words a row the vocabulary has 'title', and the other word of the first row.
    assert few.describe()["unknown_share"] == pytest.approx(39 / 80)
    assert few.describe()["rows"]["validation"] == 0
