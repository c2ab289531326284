"""Running text in batches: every token once an epoch, each row read on from batch to batch."""

import dataclasses
from itertools import chain

import numpy as np
import pytest

from rnnjax.config import parse
from rnnjax.data import text_stream
from rnnjax.data.corpora.plain_text import TextCorpus
from rnnjax.data.text_stream import TextStream
from rnnjax.data.vocabulary import END, Vocabulary
from rnnjax.errors import InputError

TOKENS = np.arange(100, 131, dtype=np.int32)  # 30 tokens to predict


def epoch(given, seed=0, number=0):
    """Returns the batches of an epoch."""
    steps = given.steps_per_epoch
    return [given.batch_at(seed, number * steps + step) for step in range(steps)]


def rows(batches, name):
    """Returns what each row reads in an epoch, without what only fills it."""
    values = np.concatenate([getattr(batch, name) for batch in batches], axis=1)
    real = np.concatenate([batch.weights for batch in batches], axis=1) > 0
    return [row[there].tolist() for row, there in zip(values, real, strict=True)]


@pytest.mark.parametrize(("batch_size", "steps"), [(1, 5), (4, 3), (4, 100), (7, 2), (30, 4)])
def test_without_shuffling_the_rows_are_the_text_in_order(batch_size, steps):
    given = TextStream(TOKENS, batch_size, steps, shuffle=False)
    batches = epoch(given)
    assert {batch.tokens.shape for batch in batches} == {(batch_size, given.boundaries[0])}
    tokens = [row for row in rows(batches, "tokens") if row]
    assert [row[0] for row in tokens] == [END] * len(tokens)
    piece = -(-30 // batch_size)
    assert list(chain(*(row[1:] for row in tokens))) == [
        100 + place for place in range(30) if place % piece
    ]
    assert list(chain(*rows(batches, "targets"))) == TOKENS[1:].tolist()
    firsts = [batch.first.tolist() for batch in batches]
    assert firsts == [[True] * batch_size] + [[False] * batch_size] * (len(batches) - 1)


@pytest.mark.parametrize(("batch_size", "steps"), [(1, 5), (4, 3), (7, 2)])
def test_every_token_is_predicted_once_an_epoch_from_another_place_each_time(batch_size, steps):
    given = TextStream(TOKENS, batch_size, steps)
    starts = []
    for seed, number in [(3, 0), (3, 1), (3, 2), (4, 0)]:
        batches = epoch(given, seed, number)
        targets = list(chain(*rows(batches, "targets")))
        assert sorted(targets) == TOKENS[1:].tolist()
        shift = TOKENS[1:].tolist().index(targets[0])
        assert targets == np.roll(TOKENS[1:], -shift).tolist()
        tokens = list(chain(*rows(batches, "tokens")))
        pairs = zip(tokens, targets, strict=True)
        assert all(target - token in (1, -29) for token, target in pairs if token != END)
        starts.append(shift)
    assert len(set(starts)) == 4
    again = [batch.tokens for batch in epoch(given, 3, 1)]
    np.testing.assert_array_equal(again, [batch.tokens for batch in epoch(given, 3, 1)])


def test_a_row_that_is_judged_has_read_what_stands_before_its_piece():
    given = TextStream(TOKENS, 3, 4, shuffle=False, warm_up=6)
    batches = epoch(given)
    assert len(batches) == 4
    assert list(chain(*rows(batches, "targets"))) == TOKENS[1:].tolist()
    read = np.concatenate([batch.tokens for batch in batches], axis=1)
    there = np.concatenate([batch.mask for batch in batches], axis=1)
    assert read[1][there[1]].tolist() == [END, *range(105, 120)]
    assert read[0][there[0]].tolist() == list(range(100, 110))
    assert there[:, :6].tolist() == [[False] * 6, [True] * 6, [True] * 6]


def test_rows_begin_anew_as_often_as_is_asked():
    given = TextStream(np.arange(40_000, dtype=np.int32), 20, 4, restarts=0.2)
    firsts = np.array([batch.first for batch in epoch(given, 3)])
    assert firsts[0].all()
    assert abs(firsts[1:].mean() - 0.2) < 0.02
    assert not (firsts[1:] == firsts[1]).all()
    assert firsts[1:].any(axis=0).all()
    other = np.array([batch.first for batch in epoch(given, 3, 1)])
    assert not np.array_equal(firsts, other)


def test_a_stack_is_its_batches_and_blanks():
    given = TextStream(TOKENS, 4, 3, group_size=4)
    stack = given.batch_group_at(5, 2, 3)
    assert stack.count == 3
    for index in range(3):
        batch = given.batch_at(5, 2 + index)
        for ours, theirs in zip(stack.batches, batch, strict=True):
            np.testing.assert_array_equal(ours[index], theirs)
    assert not stack.batches.weights[3].any()
    assert given.batch_group_at(5, 2, 9).count == 4
    (blank,) = given.empty_batch_groups()
    assert [each.shape for each in blank.batches] == [each.shape for each in stack.batches]


def test_length_is_that_of_what_is_predicted():
    given = TextStream(TOKENS, 7, 2)
    assert len(given) == 30
    assert sum(batch.weights.sum() for batch in epoch(given)) == 30


TEXTS = TextCorpus(
    "made",
    "Made here.",
    "",
    "0" * 64,
    connected=False,
    splits={"train": ["ab", "b", "aab", "a", "bb", "abab"], "test": ["ba", "c"]},
)


def config_of(**data):
    """Returns a config of characters."""
    return parse(
        {
            "task": "language_modeling",
            "batch_size": 2,
            "data": {"sequence_length": 4, "vocabulary": {"unit": "character", "size": 9}, **data},
        }
    )


def text(part, vocabulary):
    """Returns a part of the data as a text, with a bar at each end of a document."""
    names = vocabulary.words
    return "".join("|" if token == END else names[token] for token in part.tokens)


def test_documents_are_packed_with_an_end_around_each():
    made = text_stream.make_dataset(config_of(validation=0.3), TEXTS)
    assert text(made.train, made.vocabulary) == "|ab|b|aab|a|"
    assert text(made.validation, made.vocabulary) == "|bb|abab|"
    assert text(made.test, made.vocabulary) == "|ba|[UNK]|"
    assert made.train.shuffle
    assert not made.test.shuffle


def test_connected_texts_are_one():
    made = text_stream.make_dataset(config_of(), dataclasses.replace(TEXTS, connected=True))
    assert text(made.train, made.vocabulary) == "|abbaababbabab|"
    assert made.validation is None


def test_the_vocabulary_is_that_of_the_training_part_alone():
    splits = {"train": ["ab", "xy"], "test": ["ab"]}
    made = text_stream.make_dataset(
        config_of(validation=0.5), dataclasses.replace(TEXTS, splits=splits)
    )
    assert set(made.vocabulary.words) == {"[PAD]", "[UNK]", "[END]", "a", "b"}
    given = Vocabulary.fit(["abxy"], 9, "character", end_token=True)
    made = text_stream.make_dataset(config_of(), TEXTS, given)
    assert made.vocabulary is given


def test_take_takes_from_the_start():
    made = text_stream.make_dataset(config_of(take=1), TEXTS)
    assert text(made.train, made.vocabulary) == "|ab|"
    assert text(made.test, made.vocabulary) == "|ba|"


def test_too_little_text_is_an_error():
    with pytest.raises(InputError, match=r"validation: 0\.1 of 1 training texts is 0"):
        text_stream.make_dataset(config_of(take=1, validation=0.1), TEXTS)
