"""Text streams: every token once an epoch, rows contiguous from batch to batch."""

import dataclasses
from itertools import chain

import numpy as np
import pytest

from rnnjax.config import parse
from rnnjax.data.corpora.plain_text import TextCorpus
from rnnjax.data.vocabulary import END, Vocabulary
from rnnjax.errors import InputError
from rnnjax.tasks.language_modeling import data as text_stream
from rnnjax.tasks.language_modeling.data import TextStream

TOKENS = np.arange(100, 131, dtype=np.int32)  # 30 tokens to predict


def epoch_of(stream, seed=0, number=0):
    """Returns the batches of an epoch."""
    steps = stream.steps_per_epoch
    return [stream.batch_at(seed, number * steps + step) for step in range(steps)]


def rows(batches, name):
    """Returns the values of each row of an epoch where the weight is 1."""
    values = np.concatenate([getattr(batch, name) for batch in batches], axis=1)
    scored = np.concatenate([batch.weights for batch in batches], axis=1) > 0
    return [row[mask].tolist() for row, mask in zip(values, scored, strict=True)]


@pytest.mark.parametrize(
    ("batch_size", "sequence_length"), [(1, 5), (4, 3), (4, 100), (7, 2), (30, 4)]
)
def test_unshuffled_rows_are_the_text_in_order(batch_size, sequence_length):
    stream = TextStream.of_tokens(TOKENS, batch_size, sequence_length, shuffle=False)
    batches = epoch_of(stream)
    assert {batch.inputs.shape for batch in batches} == {(batch_size, stream.boundaries[0])}
    tokens = [row for row in rows(batches, "inputs") if row]
    assert [row[0] for row in tokens] == [END] * len(tokens)
    segment = -(-30 // batch_size)
    assert list(chain(*(row[1:] for row in tokens))) == [
        100 + position for position in range(30) if position % segment
    ]
    assert list(chain(*rows(batches, "targets"))) == TOKENS[1:].tolist()
    firsts = [batch.first.tolist() for batch in batches]
    assert firsts == [[True] * batch_size] + [[False] * batch_size] * (len(batches) - 1)


@pytest.mark.parametrize(("batch_size", "sequence_length"), [(1, 5), (4, 3), (7, 2)])
def test_epoch_has_every_target_once_from_a_random_start(batch_size, sequence_length):
    stream = TextStream.of_tokens(TOKENS, batch_size, sequence_length)
    starts = []
    for seed, number in [(3, 0), (3, 1), (3, 2), (4, 0)]:
        batches = epoch_of(stream, seed, number)
        targets = list(chain(*rows(batches, "targets")))
        assert sorted(targets) == TOKENS[1:].tolist()
        shift = TOKENS[1:].tolist().index(targets[0])
        assert targets == np.roll(TOKENS[1:], -shift).tolist()
        tokens = list(chain(*rows(batches, "inputs")))
        pairs = zip(tokens, targets, strict=True)
        assert all(target - token in (1, -29) for token, target in pairs if token != END)
        starts.append(shift)
    assert len(set(starts)) == 4
    repeated = [batch.inputs for batch in epoch_of(stream, 3, 1)]
    np.testing.assert_array_equal(repeated, [batch.inputs for batch in epoch_of(stream, 3, 1)])


@pytest.mark.parametrize(
    ("length", "variation"), [(10, 0.4), (10, 0.5), (29, 0.5), (23, 0.5), (4, 0.1)]
)
def test_lengths_vary_within_their_bounds(length, variation):
    stream = TextStream.of_tokens(np.arange(100, 701), 2, length, length_variation=variation)
    equal = TextStream.of_tokens(np.arange(100, 701), 2, length)
    assert stream.steps_per_epoch == equal.steps_per_epoch
    shift = int(variation * length / 2)
    assert stream.boundaries == (length + 2 * shift,)
    lengths = []
    for seed, number in [(3, 0), (3, 1), (4, 0)]:
        batches = epoch_of(stream, seed, number)
        for batch in batches:
            assert batch.inputs.shape == (2, length + 2 * shift)
            assert batch.weights.sum() > 0
        targets = rows(batches, "targets")
        assert sorted(chain(*targets)) == list(range(101, 701))
        assert all((np.diff(row) % 600 == 1).all() for row in targets)
        lengths.append([int(batch.mask[0].sum()) for batch in batches])
    inner = np.array(lengths)[:, 1:-2]
    assert inner.min() >= length - 2 * shift
    assert len({tuple(row) for row in lengths}) == (3 if shift else 1)
    assert (inner.std() > 0) == (shift > 0)
    assert abs(inner.mean() - length) <= 1


def test_warm_up_reads_tokens_before_the_segment():
    stream = TextStream.of_tokens(TOKENS, 3, 4, shuffle=False, warm_up=6)
    batches = epoch_of(stream)
    assert len(batches) == 4
    assert list(chain(*rows(batches, "targets"))) == TOKENS[1:].tolist()
    tokens = np.concatenate([batch.inputs for batch in batches], axis=1)
    mask = np.concatenate([batch.mask for batch in batches], axis=1)
    assert tokens[1][mask[1]].tolist() == [END, *range(105, 120)]
    assert tokens[0][mask[0]].tolist() == list(range(100, 110))
    assert mask[:, :6].tolist() == [[False] * 6, [True] * 6, [True] * 6]


def test_restarts_have_configured_probability():
    stream = TextStream.of_tokens(np.arange(40_000, dtype=np.int32), 20, 4, restarts=0.2)
    firsts = np.array([batch.first for batch in epoch_of(stream, 3)])
    assert firsts[0].all()
    assert abs(firsts[1:].mean() - 0.2) < 0.02
    assert not (firsts[1:] == firsts[1]).all()
    assert firsts[1:].any(axis=0).all()
    second_epoch = np.array([batch.first for batch in epoch_of(stream, 3, 1)])
    assert not np.array_equal(firsts, second_epoch)


def test_batch_group_is_padded_with_empty_batches():
    stream = TextStream.of_tokens(TOKENS, 4, 3, group_size=4)
    group = stream.batch_group_at(5, 2, 3)
    assert group.count == 3
    for index in range(3):
        batch = stream.batch_at(5, 2 + index)
        for stacked, array in zip(group.batches, batch, strict=True):
            np.testing.assert_array_equal(stacked[index], array)
    assert not group.batches.weights[3].any()
    assert stream.batch_group_at(5, 2, 9).count == 4
    (empty,) = stream.empty_batch_groups()
    assert [array.shape for array in empty.batches] == [array.shape for array in group.batches]


def test_length_is_number_of_targets():
    stream = TextStream.of_tokens(TOKENS, 7, 2)
    assert len(stream) == 30
    assert sum(batch.weights.sum() for batch in epoch_of(stream)) == 30


TEXTS = TextCorpus(
    "example",
    "An example.",
    "",
    "0" * 64,
    connected=False,
    splits={"train": ["ab", "b", "aab", "a", "bb", "abab"], "test": ["ba", "c"]},
)


def config_of(**data):
    """Returns a config of a character model."""
    return parse(
        {
            "task": "language_modeling",
            "batch_size": 2,
            "data": {"sequence_length": 4, "vocabulary": {"unit": "character", "size": 9}, **data},
        }
    )


def text(split, vocabulary):
    """Returns a split as a text, with a bar for each `END`."""
    names = vocabulary.words
    return "".join("|" if token == END else names[token] for token in split.tokens)


def test_documents_are_separated_by_end_tokens():
    dataset = text_stream.make_dataset(config_of(validation=0.3), TEXTS)
    assert text(dataset.train, dataset.vocabulary) == "|ab|b|aab|a|"
    assert text(dataset.validation, dataset.vocabulary) == "|bb|abab|"
    assert text(dataset.test, dataset.vocabulary) == "|ba|[UNK]|"
    assert dataset.train.shuffle
    assert not dataset.test.shuffle


def test_connected_texts_have_no_separators():
    dataset = text_stream.make_dataset(config_of(), dataclasses.replace(TEXTS, connected=True))
    assert text(dataset.train, dataset.vocabulary) == "|abbaababbabab|"
    assert dataset.validation is None


def test_vocabulary_is_fitted_on_training_split():
    splits = {"train": ["ab", "xy"], "test": ["ab"]}
    dataset = text_stream.make_dataset(
        config_of(validation=0.5), dataclasses.replace(TEXTS, splits=splits)
    )
    assert set(dataset.vocabulary.words) == {"[PAD]", "[UNK]", "[END]", "a", "b"}
    vocabulary = Vocabulary.fit(["abxy"], 9, "character", end_token=True)
    dataset = text_stream.make_dataset(config_of(), TEXTS, vocabulary)
    assert dataset.vocabulary is vocabulary


def test_take_limits_texts():
    dataset = text_stream.make_dataset(config_of(take=1), TEXTS)
    assert text(dataset.train, dataset.vocabulary) == "|ab|"
    assert text(dataset.test, dataset.vocabulary) == "|ba|"


def test_empty_validation_split_is_refused():
    with pytest.raises(InputError, match=r"validation: 0\.1 of 1 training texts is 0"):
        text_stream.make_dataset(config_of(take=1, validation=0.1), TEXTS)


def test_white_space_words_have_an_end_for_each_line():
    vocabulary = Vocabulary.fit(["a b\n", "c a\n"], 9, "whitespace")

    def tokens(texts, connected):
        encoded = text_stream.encode_texts("test", texts, vocabulary, connected=connected)
        return " ".join(vocabulary.words[token] for token in encoded)

    assert tokens(["a b\n", "\n", "c\n"], True) == "a b <eos> <eos> c <eos>"
    assert tokens(["a b\n", "c"], True) == "a b <eos> c <eos>"
    assert tokens(["a\nb", "c"], False) == "<eos> a b <eos> c <eos>"


@pytest.mark.parametrize(("unit", "ends"), [("whitespace", 0), ("character", 1)])
def test_evaluation_of_connected_text_is_one_row_of_all_its_tokens(unit, ends):
    lines = [f"{letter} x\n" for letter in "abcdefghij"]
    splits = {"train": lines, "validation": lines[:7], "test": lines[4:]}
    corpus = dataclasses.replace(TEXTS, connected=True, splits=splits)
    options = {"unit": unit, "size": 20}
    dataset = text_stream.make_dataset(config_of(vocabulary=options), corpus)
    for name, texts in list(splits.items())[1:]:
        stream = getattr(dataset, name)
        batches = epoch_of(stream)
        assert {batch.inputs.shape for batch in batches} == {(1, 8)}  # as many as in training
        assert [bool(batch.first[0]) for batch in batches] == [True] + [False] * (len(batches) - 1)
        encoded = dataset.vocabulary.encode(texts).values.tolist()
        encoded = [END] * ends + encoded + [END] * ends
        assert rows(batches, "inputs") == [encoded[:-1]]
        assert rows(batches, "targets") == [encoded[1:]]
        assert sum(batch.mask.sum() for batch in batches) == len(encoded) - 1


@pytest.mark.parametrize(
    ("unit", "counts"), [("character", (4, 7)), ("subword", (4, 7)), ("word", (0, 0))]
)
def test_stream_counts_characters_and_bytes_of_text_that_tokens_preserve(unit, counts):
    splits = {"train": ["a\u00e9 b\n"], "test": ["\u00e9\u65e5\n", "a"]}
    corpus = dataclasses.replace(TEXTS, connected=True, splits=splits)
    options = {"unit": unit, "size": 20}
    test = text_stream.make_dataset(config_of(vocabulary=options), corpus).test
    assert (test.num_characters, test.num_bytes) == counts


def test_single_token_is_refused():
    splits = {"train": ["\n", "a b\n"], "test": ["a b\n"]}
    corpus = dataclasses.replace(TEXTS, connected=True, splits=splits)
    vocabulary = Vocabulary.fit(["a b\n"], 9, "whitespace")
    with pytest.raises(InputError, match="the text: given 1 tokens, and each predicts the next"):
        text_stream.make_dataset(config_of(take=1), corpus, vocabulary)
