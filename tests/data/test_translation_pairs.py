"""Batches of pairs: every pair once an epoch, in few shapes, with its ends."""

import itertools
from typing import Any

import numpy as np
import pytest

from rnnjax.config import parse
from rnnjax.data.batches import Sequences
from rnnjax.data.corpora.parallel_text import ParallelCorpus, SentencePairs
from rnnjax.data.translation_pairs import (
    TranslationBatches,
    choose_shapes,
    extend_shapes,
    load_corpus,
    make_dataset,
)
from rnnjax.data.vocabulary import END

LENGTHS = [(3, 2), (1, 4), (7, 7), (4, 3), (0, 1), (5, 0), (2, 2), (6, 5), (3, 3), (7, 2), (2, 5)]
SHAPES = ((4, 4), (4, 6), (8, 8))


def sequences():
    """Returns sources and targets whose tokens name the row and the side."""
    sides = [
        [[base + 100 * row + place for place in range(pair[side])] for row, pair in pairs]
        for side, base in ((0, 1_000), (1, 3_000))
        for pairs in [list(enumerate(LENGTHS))]
    ]
    return tuple(map(Sequences.from_lists, sides))


def batches(**options):
    """Returns batches of three of the pairs above."""
    sources, targets = sequences()
    given: dict[str, Any] = {"batch_size": 3, "shapes": SHAPES, **options}
    return TranslationBatches(sources, targets, **given)


def rows_of(given):
    """Returns the pairs above as tuples."""
    ends = itertools.pairwise(given.offsets)
    return [tuple(given.tokens[start:end]) for start, end in ends]


def epoch(given, seed=0, number=0):
    """Returns the batches of an epoch."""
    steps = range(given.steps_per_epoch * number, given.steps_per_epoch * (number + 1))
    return [given.batch_at(seed, step) for step in steps]


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize(("batch_size", "group"), [(1, 1), (3, 2), (20, 1)])
def test_every_pair_is_seen_once_an_epoch_with_its_end(shuffle, batch_size, group):
    given = batches(shuffle=shuffle, batch_size=batch_size, group_size=group)
    expected = sorted(zip(*map(rows_of, sequences()), strict=True))
    for number in range(2):
        seen = []
        for batch in epoch(given, 3, number):
            assert batch.source.shape == batch.source_mask.shape
            assert (batch.source.shape[1], batch.targets.shape[1]) in SHAPES
            for source, source_mask, inputs, targets, weights in zip(*batch, strict=True):
                count = int(weights.sum())
                assert weights.tolist() == [1.0] * count + [0.0] * (len(weights) - count)
                assert not inputs[count:].any()
                assert not targets[count:].any()
                assert not source[~source_mask].any()
                if not count:
                    assert not source_mask.any()
                    continue
                assert inputs[0] == END
                assert targets[count - 1] == END
                assert inputs[1:count].tolist() == targets[: count - 1].tolist()
                seen.append((tuple(source[source_mask]), tuple(targets[: count - 1])))
        assert sorted(seen) == expected


def test_arrays_have_the_types_that_are_said():
    batch = batches().batch_at(0, 0)
    kinds = [each.dtype for each in batch]
    assert kinds == [np.int32, bool, np.int32, np.int32, np.float32]


def test_a_pair_goes_into_the_smallest_shape_that_holds_it():
    shapes = ((4, 12), (5, 5), (8, 8))
    given = batches(batch_size=1, shuffle=False, shapes=shapes)
    seen = {}
    for step in range(given.steps_per_epoch):
        batch = given.batch_at(0, step)
        seen[int(given.indices_at(0, step)[0])] = (batch.source.shape[1], batch.targets.shape[1])
    for row, (source, target) in enumerate(LENGTHS):
        fitting = [each for each in shapes if source <= each[0] and target + 1 <= each[1]]
        assert seen[row] == min(fitting, key=sum)


def test_a_batch_follows_from_seed_and_step_alone():
    one, other = batches(), batches()
    there = [one.batch_at(7, step) for step in range(12)]
    back = [other.batch_at(7, step) for step in reversed(range(12))][::-1]
    for a, b in zip(there, back, strict=True):
        assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
    orders = {
        tuple(row for step in range(n, n + 4) for row in one.indices_at(seed, step))
        for seed in (0, 1) for n in (0, one.steps_per_epoch)
    }  # fmt: skip
    assert len(orders) == 4


def test_a_stack_holds_the_batches_of_its_steps():
    given = batches(group_size=2, batch_size=2)
    step = 0
    while step < given.steps_per_epoch:
        stack = given.batch_group_at(0, step, 2)
        for index in range(int(stack.count)):
            for stacked, single in zip(stack.batches, given.batch_at(0, step + index), strict=True):
                np.testing.assert_array_equal(stacked[index], single)
        step += int(stack.count)
    shapes = sorted({stack.batches.source.shape[2] for stack in given.empty_batch_groups()})
    assert shapes == [4, 8]
    assert all(not batch.weights.any() for batch in given.empty_batches())


def test_batches_can_be_padded_to_a_longer_shape():
    given = batches(group_size=2)
    assert len(given) == len(LENGTHS)
    stack = given.stack_batches(0, range(1, 3), (9, 10))
    for index in range(2):
        single = given.batch_at(0, 1 + index)
        assert given.padded_shape_at(0, 1 + index) == (
            single.source.shape[1],
            single.targets.shape[1],
        )
        for stacked, array in zip(stack.batches, single, strict=True):
            assert stacked.shape[2] in (9, 10)
            np.testing.assert_array_equal(stacked[index, :, : array.shape[1]], array)
            assert not stacked[index, :, array.shape[1] :].any()


def test_chosen_shapes_hold_every_pair_and_cost_less_than_one():
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 30, 400)
    sources = Sequences.from_lists([[1] * n for n in lengths])
    others = np.maximum(lengths + rng.integers(-4, 5, 400), 1)
    targets = Sequences.from_lists([[1] * n for n in others])

    def places(shapes):
        given = TranslationBatches(sources, targets, 8, shapes)
        steps = range(given.steps_per_epoch)
        assert sum(int(given.batch_at(0, step).weights.sum()) for step in steps) == (
            len(targets.tokens) + len(targets)
        )
        return sum(sum(each.source.shape[1:] + each.targets.shape[1:]) for each in epoch(given))

    costs = [places(choose_shapes(sources, targets, most, 8)) for most in (1, 2, 4, 6, 9)]
    assert costs == sorted(costs, reverse=True)
    assert costs[-1] < 0.7 * costs[0]
    for most in (1, 2, 5, 6):
        assert len(choose_shapes(sources, targets, most, 8)) <= most
    assert len(choose_shapes(sources, targets, 9, 8, shape_cost=1e9)) < 9


def test_pairs_that_fit_nowhere_get_a_shape_of_their_own():
    sources, targets = sequences()
    assert extend_shapes(SHAPES, sources, targets) == SHAPES
    assert extend_shapes(SHAPES[:2], sources, targets) == (*SHAPES[:2], (7, 8))


def corpus_of(**parts):
    """Returns a corpus of such texts."""
    return ParallelCorpus(
        "made", "made here", {name: SentencePairs(*sides) for name, sides in parts.items()}
    )


def test_both_languages_of_the_training_part_make_the_vocabulary():
    corpus = corpus_of(
        train=(("eins zwei", "drei", "vier"), ("one two", "three one one", "four")),
        validation=(("zwei neun", "drei"), ("two", "nine three three three three")),
        test=(("drei",), ("three",)),
    )
    config = parse({"task": "translation", "batch_size": 2, "data": {"take": 2}})
    made = make_dataset(config, corpus)
    assert set(made.vocabulary.words[3:]) == {"eins", "zwei", "drei", "one", "two", "three"}
    told = made.describe()
    assert told["rows"] == {"train": 2, "validation": 2, "test": 1}
    assert told["longest"] == 3
    assert told["vocabulary"] == 9
    assert made.validation is not None
    # A text that is longer than all of the training part has room.
    assert sum(batch.weights.sum() for batch in epoch(made.validation)) == 8
    batch = made.test.batch_at(0, 0)
    assert made.vocabulary.decode(batch.source[0]) == "drei"
    assert made.vocabulary.decode(batch.targets[0]) == "three"


def test_batches_are_made_as_a_config_asks():
    texts = tuple("ab"[: count % 3] + "c" * (count % 9) for count in range(40))
    corpus = corpus_of(train=(texts, texts), validation=(texts, texts), test=(texts, texts))
    made = {
        name: make_dataset(parse({"task": "translation", "batch_size": 4, **given}), corpus)
        for name, given in {
            "plain": {"data": {"buckets": 1}},
            "other": {
                "epochs": 10_000,
                "steps_per_call": 3,
                "data": {"shuffle": False, "vocabulary": {"rows": 2, "unit": "character"}},
            },
        }.items()
    }
    plain, other = made["plain"], made["other"]
    assert (plain.train.shuffle, plain.train.group_size, len(plain.train.shapes)) == (True, 1, 1)
    assert (other.train.shuffle, other.train.group_size) == (False, 3)
    # What compiling costs is shared out among the epochs.
    assert 1 < len(other.train.shapes) <= 6
    assert plain.validation is not None
    assert [each.shuffle for each in (plain.test, plain.validation)] == [False, False]
    assert "abcc" in plain.vocabulary.words
    assert other.vocabulary.words[3:] == ["a", "c"]


def test_numbers_and_dates_are_made_as_needed():
    config = parse({"task": "translation", "data": {"take": 7}})
    corpus = load_corpus(config.data, config.translation)
    assert corpus.name == "numerals"
    assert {name: len(part) for name, part in corpus.splits.items()} == {
        "train": 7,
        "validation": 7,
        "test": 7,
    }
