"""Data sets: which rows are trained on, held out and tested on, and which words are known."""

import re

import numpy as np
import pytest

from rnnjax.config import parse
from rnnjax.config.schema import DataConfig
from rnnjax.data import labelled_text
from rnnjax.data.batches import permutation
from rnnjax.data.corpora import Corpus, CorpusSplit, TextColumn
from rnnjax.data.labelled_text import make_batches, make_dataset
from rnnjax.data.vocabulary import Vocabulary
from rnnjax.errors import InputError

TRAIN, TEST = 40, 11


def column(texts):
    """Returns texts as a corpus holds them."""
    encoded = [text.encode() for text in texts]
    offsets = np.cumsum([0, *map(len, encoded)]).astype(np.int64)
    return TextColumn(np.frombuffer(b"".join(encoded), np.uint8), offsets)


def split(part, rows):
    """Returns a part in which row 7 of the title says 'train7' or 'test7', and more words."""
    titles = [f"{part}{row} title" for row in range(rows)]
    descriptions = [f"{part}d{row}" + " word" * (row % 5) for row in range(rows)]
    labels = np.arange(rows, dtype=np.int32) % 3
    return CorpusSplit(labels, {"title": column(titles), "description": column(descriptions)})


CORPUS = Corpus(
    name="made up",
    source="These tests.",
    fallback="",
    fingerprint="0",
    classes=("a", "b", "c"),
    splits={"train": split("train", TRAIN), "test": split("test", TEST)},
)


def dataset(**data):
    """Returns the data set of a config; keys of the vocabulary begin with 'vocabulary_'."""
    seed = data.pop("seed", 0)
    prefix = "vocabulary_"
    vocabulary = {
        key.removeprefix(prefix): data.pop(key) for key in [*data] if key.startswith(prefix)
    }
    config = {"seed": seed, "batch_size": 4, "data": {**data, "vocabulary": vocabulary}}
    return make_dataset(parse(config), CORPUS)


def words_of(batches, vocabulary):
    """Returns the first word of each example, in the order in which batches hold them."""
    first = batches.sequences.tokens[batches.sequences.offsets[:-1]]
    return [vocabulary.tokenizer.id_to_token(number) or "" for number in first]


def known(given):
    """Returns the words that a data set knows."""
    return {word for word in given.vocabulary.tokenizer.get_vocab() if not word.startswith("[")}


def test_all_rows_are_read_in_the_order_of_the_file():
    given = dataset(vocabulary_text="title")
    assert given.validation is None
    assert words_of(given.train, given.vocabulary) == [f"train{row}" for row in range(TRAIN)]
    assert given.train.labels.tolist() == [row % 3 for row in range(TRAIN)]
    assert given.test.labels.tolist() == [row % 3 for row in range(TEST)]
    assert len(given.test.sequences) == TEST


def test_take_is_the_start_of_both_parts():
    given = dataset(take=7)
    assert words_of(given.train, given.vocabulary) == [f"train{row}" for row in range(7)]
    assert given.test.labels.tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert "train7" not in known(given)
    assert len(dataset(take=30).test.labels) == TEST


def test_the_text_is_the_fields_asked_for_joined_by_a_space():
    given = dataset(text="description", vocabulary_text="title+description")
    assert words_of(given.train, given.vocabulary)[3] == "traind3"
    assert given.train.sequences.lengths[3] == 4
    both = dataset()
    assert both.train.sequences.lengths[3] == 6


def test_the_validation_part_is_held_out_of_training():
    given = dataset(validation=0.25)
    assert given.validation is not None
    # A word that training does not hold is unknown: labels name the rows instead.
    assert len(given.validation.labels) == 10
    assert len(given.train.labels) == 30
    trained_on = {
        int(word.removeprefix("train")) for word in words_of(given.train, given.vocabulary)
    }
    held_out = sorted(set(range(TRAIN)) - trained_on)
    assert len(trained_on) == 30
    assert given.validation.labels.tolist() == [row % 3 for row in held_out]
    assert given.validation.sequences.lengths.tolist() == [3 + row % 5 for row in held_out]


def test_the_validation_part_is_drawn_by_the_seed():
    def trained_on(seed):
        given = dataset(validation=0.25, seed=seed)
        return words_of(given.train, given.vocabulary)

    assert trained_on(1) == trained_on(1)
    assert len({tuple(trained_on(seed)) for seed in range(5)}) == 5
    assert trained_on(1) != [f"train{row}" for row in range(30)]


def test_what_draws_the_validation_part_orders_no_epoch():
    drawn = permutation(50, 3, labelled_text.VALIDATION).tolist()
    assert all(drawn != permutation(50, 3, epoch, 0).tolist() for epoch in range(5))


def test_the_vocabulary_knows_only_what_is_trained_on():
    given = dataset(validation=0.5)
    trained_on = set(words_of(given.train, given.vocabulary))
    assert {word for word in known(given) if re.fullmatch(r"train\d+", word)} == trained_on
    assert not any(word.startswith("test") for word in known(given))


def test_the_vocabulary_is_fitted_on_the_rows_and_fields_asked_for():
    titles = dataset(vocabulary_text="title", vocabulary_rows=5)
    assert known(titles) == {"title", *(f"train{row}" for row in range(5))}
    # Without a field of its own it is fitted on what the network reads.
    assert known(dataset(text="description", vocabulary_rows=2)) == {"traind0", "traind1", "word"}
    held_out = dataset(validation=0.25, seed=3, vocabulary_text="title", vocabulary_rows=5)
    everything = dataset(validation=0.25, seed=3)
    first = words_of(everything.train, everything.vocabulary)[:5]
    assert known(held_out) == {"title", *first}


def test_the_vocabulary_has_the_size_and_the_unit_asked_for():
    assert len(dataset(vocabulary_size=5).vocabulary) == 5
    assert "title" in known(dataset(vocabulary_size=4))
    assert all(len(word) == 1 for word in known(dataset(vocabulary_unit="character")))


def test_a_vocabulary_that_is_given_is_used():
    vocabulary = Vocabulary.fit(["word"], 5)
    given = make_dataset(parse({}), CORPUS, vocabulary)
    assert given.vocabulary is vocabulary
    assert set(given.train.sequences.tokens) == {1, 2}


@pytest.mark.parametrize(("share", "take"), [(0.01, 0), (0.5, 1), (0.1, 4)])
def test_a_part_without_rows_is_refused(share, take):
    with pytest.raises(InputError, match=r"config\.data\.validation: .* training rows is 0"):
        dataset(validation=share, take=take)


def test_only_training_is_shuffled():
    given = dataset(validation=0.25, bucketing=False)
    assert given.validation is not None
    assert given.train.shuffle
    for part in (given.validation, given.test):
        rows = [part.indices_at(0, step) for step in range(part.steps_per_epoch)]
        assert np.concatenate(rows).tolist() == list(range(len(part.labels)))
    assert not dataset(shuffle=False).train.shuffle


@pytest.mark.parametrize("bucketing", [True, False])
def test_the_other_parts_use_the_shapes_of_training(bucketing, monkeypatch):
    monkeypatch.setattr(labelled_text, "_COMPILE_COST", 0.0)
    given = dataset(bucketing=bucketing, buckets=3, validation=0.25, shuffle=False)
    assert given.validation is not None
    assert 1 < len(given.train.boundaries) <= 3
    assert given.train.boundaries[-1] == 7
    for part in (given.validation, given.test):
        assert set(part.boundaries) <= set(given.train.boundaries)


def test_a_shape_must_save_more_than_it_takes_to_compile():
    assert dataset().train.boundaries == (7,)


def test_texts_longer_than_any_boundary_get_one_of_their_own():
    vocabulary = Vocabulary.fit(["a"], 5)
    labels = np.zeros(2, np.int32)

    def boundaries(*texts):
        return make_batches(
            DataConfig(), vocabulary, [*texts], labels, batch_size=16, boundaries=(2, 4)
        ).boundaries

    assert boundaries("a a a a a", "a") == (2, 4, 5)
    assert boundaries("a a a", "a") == (2, 4)
    assert boundaries("a a", "a") == (2,)
    assert boundaries("", "") == (2,)


def test_texts_are_cut_and_masked_as_the_config_says():
    assert dataset(max_tokens=2).train.sequences.lengths.max() == 2
    assert dataset().train.mask_padding
    config = parse({"model": {"mask": False}})
    assert not make_dataset(config, CORPUS).train.mask_padding


def test_a_data_set_describes_itself():
    described = dataset(validation=0.25).describe()
    assert described["rows"] == {"train": 30, "validation": 10, "test": TEST}
    assert described["classes"] == ["a", "b", "c"]
    assert described["vocabulary"] == 2 + 30 + 30 + len({"title", "word"})
    assert described["unknown_share"] == 0.0
    few = dataset(vocabulary_text="title", vocabulary_rows=1, text="title")
    # Of two words a row, one of them 'title', only the first row's other word is known.
    assert few.describe()["unknown_share"] == pytest.approx(39 / 80)
    assert few.describe()["rows"]["validation"] == 0
