"""Batches of sentence pairs: every pair once an epoch, few padded shapes, end tokens."""

import itertools

import numpy as np
import pytest

from rnnjax.config import parse
from rnnjax.data.corpora.parallel_text import ParallelCorpus, SentencePairs
from rnnjax.data.pairs import PairBatches, choose_shapes, extend_shapes
from rnnjax.data.sequences import Sequences
from rnnjax.data.vocabulary import END
from rnnjax.tasks.translation.config import TranslationConfig
from rnnjax.tasks.translation.data import (
    load_corpus,
    make_dataset,
)

LENGTHS = [(3, 2), (1, 4), (7, 7), (4, 3), (0, 1), (5, 0), (2, 2), (6, 5), (3, 3), (7, 2), (2, 5)]
SHAPES = ((4, 4), (4, 6), (8, 8))


def sequences():
    """Returns sources and targets whose tokens identify the pair and the side."""
    sides = [
        [[base + 100 * row + place for place in range(pair[side])] for row, pair in pairs]
        for side, base in ((0, 1_000), (1, 3_000))
        for pairs in [list(enumerate(LENGTHS))]
    ]
    return tuple(map(Sequences.from_lists, sides))


def make_batches(**options):
    """Returns batches of three of the pairs above."""
    sources, targets = sequences()
    options = {"batch_size": 3, "shapes": SHAPES, **options}
    return PairBatches(sources, targets, **options)


def rows_of(sequences):
    """Returns sequences as tuples."""
    ends = itertools.pairwise(sequences.offsets)
    return [tuple(sequences.values[start:end]) for start, end in ends]


def epoch_of(batches, seed=0, number=0):
    """Returns the batches of an epoch."""
    steps = range(batches.steps_per_epoch * number, batches.steps_per_epoch * (number + 1))
    return [batches.batch_at(seed, step) for step in steps]


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize(("batch_size", "group_size"), [(1, 1), (3, 2), (20, 1)])
def test_epoch_has_every_pair_once_with_its_end(shuffle, batch_size, group_size):
    batches = make_batches(shuffle=shuffle, batch_size=batch_size, group_size=group_size)
    expected = sorted(zip(*map(rows_of, sequences()), strict=True))
    for number in range(2):
        pairs = []
        for batch in epoch_of(batches, 3, number):
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
                pairs.append((tuple(source[source_mask]), tuple(targets[: count - 1])))
        assert sorted(pairs) == expected


def test_dtypes_of_batch():
    batch = make_batches().batch_at(0, 0)
    dtypes = [array.dtype for array in batch]
    assert dtypes == [np.int32, bool, np.int32, np.int32, np.float32]


def test_pair_is_padded_to_smallest_shape():
    shapes = ((4, 12), (5, 5), (8, 8))
    batches = make_batches(batch_size=1, shuffle=False, shapes=shapes)
    padded = {}
    for step in range(batches.steps_per_epoch):
        batch = batches.batch_at(0, step)
        padded[int(batches.indices_at(0, step)[0])] = (
            batch.source.shape[1],
            batch.targets.shape[1],
        )
    for row, (source, target) in enumerate(LENGTHS):
        fitting = [shape for shape in shapes if source <= shape[0] and target + 1 <= shape[1]]
        assert padded[row] == min(fitting, key=sum)


def test_batch_depends_on_seed_and_step_only():
    batches, copy = make_batches(), make_batches()
    forward = [batches.batch_at(7, step) for step in range(12)]
    backward = [copy.batch_at(7, step) for step in reversed(range(12))][::-1]
    for a, b in zip(forward, backward, strict=True):
        assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
    orders = {
        tuple(row for step in range(n, n + 4) for row in batches.indices_at(seed, step))
        for seed in (0, 1) for n in (0, batches.steps_per_epoch)
    }  # fmt: skip
    assert len(orders) == 4


def test_batch_group_equals_its_single_batches():
    batches = make_batches(group_size=2, batch_size=2)
    step = 0
    while step < batches.steps_per_epoch:
        group = batches.batch_group_at(0, step, 2)
        for index in range(int(group.count)):
            for stacked, single in zip(
                group.batches, batches.batch_at(0, step + index), strict=True
            ):
                np.testing.assert_array_equal(stacked[index], single)
        step += int(group.count)
    shapes = sorted({group.batches.source.shape[2] for group in batches.empty_batch_groups()})
    assert shapes == [4, 8]
    assert all(not batch.weights.any() for batch in batches.empty_batches())


def test_stack_batches_pads_to_a_larger_shape():
    batches = make_batches(group_size=2)
    assert len(batches) == len(LENGTHS)
    group = batches.stack_batches(0, range(1, 3), (9, 10))
    for index in range(2):
        single = batches.batch_at(0, 1 + index)
        assert batches.padded_shape_at(0, 1 + index) == (
            single.source.shape[1],
            single.targets.shape[1],
        )
        for stacked, array in zip(group.batches, single, strict=True):
            assert stacked.shape[2] in (9, 10)
            np.testing.assert_array_equal(stacked[index, :, : array.shape[1]], array)
            assert not stacked[index, :, array.shape[1] :].any()


def test_more_shapes_cost_less_padding():
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 30, 400)
    sources = Sequences.from_lists([[1] * n for n in lengths])
    target_lengths = np.maximum(lengths + rng.integers(-4, 5, 400), 1)
    targets = Sequences.from_lists([[1] * n for n in target_lengths])

    def padded_tokens(shapes):
        batches = PairBatches(sources, targets, 8, shapes)
        steps = range(batches.steps_per_epoch)
        assert sum(int(batches.batch_at(0, step).weights.sum()) for step in steps) == (
            len(targets.values) + len(targets)
        )
        return sum(
            sum(batch.source.shape[1:] + batch.targets.shape[1:]) for batch in epoch_of(batches)
        )

    costs = [padded_tokens(choose_shapes(sources, targets, limit, 8)) for limit in (1, 2, 4, 6, 9)]
    assert costs == sorted(costs, reverse=True)
    assert costs[-1] < 0.7 * costs[0]
    for limit in (1, 2, 5, 6):
        assert len(choose_shapes(sources, targets, limit, 8)) <= limit
    assert len(choose_shapes(sources, targets, 9, 8, shape_cost=1e9)) < 9


def test_shapes_are_extended_for_longer_pairs():
    sources, targets = sequences()
    assert extend_shapes(SHAPES, sources, targets) == SHAPES
    assert extend_shapes(SHAPES[:2], sources, targets) == (*SHAPES[:2], (7, 8))


def corpus_of(**parts):
    """Returns a corpus of these sources and targets."""
    return ParallelCorpus(
        "example", "These tests.", {name: SentencePairs(*sides) for name, sides in parts.items()}
    )


def test_vocabulary_is_fitted_on_both_languages_of_training():
    corpus = corpus_of(
        train=(("eins zwei", "drei", "vier"), ("one two", "three one one", "four")),
        validation=(("zwei neun", "drei"), ("two", "nine three three three three")),
        test=(("drei",), ("three",)),
    )
    config = parse({"task": "translation", "batch_size": 2, "data": {"take": 2}})
    dataset = make_dataset(config, corpus)
    assert set(dataset.vocabulary.words[3:]) == {"eins", "zwei", "drei", "one", "two", "three"}
    description = dataset.describe()
    assert description["rows"] == {"train": 2, "validation": 2, "test": 1}
    assert description["longest"] == 3
    assert description["vocabulary"] == 9
    assert dataset.validation is not None
    # A text longer than all of the training split has a shape that holds it.
    assert sum(batch.weights.sum() for batch in epoch_of(dataset.validation)) == 8
    batch = dataset.test.batch_at(0, 0)
    assert dataset.vocabulary.decode(batch.source[0]) == "drei"
    assert dataset.vocabulary.decode(batch.targets[0]) == "three"


def test_batches_follow_config():
    texts = tuple("ab"[: count % 3] + "c" * (count % 9) for count in range(40))
    corpus = corpus_of(train=(texts, texts), validation=(texts, texts), test=(texts, texts))

    def make(**values):
        return make_dataset(parse({"task": "translation", "batch_size": 4, **values}), corpus)

    default = make(data={"buckets": 1})
    characters = make(
        epochs=10_000,
        steps_per_call=3,
        data={"shuffle": False, "vocabulary": {"rows": 2, "unit": "character"}},
    )
    train = default.train
    assert (train.shuffle, train.group_size, len(train.shapes)) == (True, 1, 1)
    assert (characters.train.shuffle, characters.train.group_size) == (False, 3)
    # The cost of compiling is shared out among the epochs.
    assert 1 < len(characters.train.shapes) <= 6
    assert default.validation is not None
    assert [split.shuffle for split in (default.test, default.validation)] == [False, False]
    assert "abcc" in default.vocabulary.words
    assert characters.vocabulary.words[3:] == ["a", "c"]


def test_numerals_are_generated_as_needed():
    config = parse({"task": "translation", "data": {"take": 7}})
    corpus = load_corpus(config.data, config.section(TranslationConfig))
    assert corpus.name == "numerals"
    assert {name: len(pairs) for name, pairs in corpus.splits.items()} == {
        "train": 7,
        "validation": 7,
        "test": 7,
    }
