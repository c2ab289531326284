"""Batches: every example once an epoch, few padded shapes, pure functions of seed and step."""

import dataclasses
import itertools

import numpy as np
import pytest

from rnnjax.data.batches import Batch, Batches, choose_boundaries, permutation
from rnnjax.data.sequences import Sequences

LENGTHS = [3, 1, 7, 4, 4, 0, 2, 9, 6, 5, 1, 8, 3, 2, 7, 5, 4]
"""Lengths of the examples, whose tokens all differ."""


def sequences():
    """Returns sequences whose first token identifies the example."""
    return Sequences.from_lists(
        [[100 + row, *range(1, length)][:length] for row, length in enumerate(LENGTHS)]
    )


def make_batches(**options):
    """Returns batches of four of the sequences above."""
    options = {"batch_size": 4, "boundaries": (3, 6, 9), **options}
    labels = np.arange(len(LENGTHS), dtype=np.int32) % 3
    return Batches(sequences(), labels, **options)


def epoch_of(batches, seed=0, number=0):
    """Returns the batches of an epoch."""
    steps = range(batches.steps_per_epoch * number, batches.steps_per_epoch * (number + 1))
    return [batches.batch_at(seed, step) for step in steps]


def contents(batch):
    """Returns the sequences of a batch as tuples, without rows of weight zero."""
    rows = zip(batch.inputs, batch.mask, batch.weights, strict=True)
    return [tuple(tokens[mask]) for tokens, mask, weight in rows if weight]


def equal(left, right):
    """Returns whether two lists of batches hold the same arrays."""
    pairs = zip(left, right, strict=True)
    return all(np.array_equal(a, b) for x, y in pairs for a, b in zip(x, y, strict=True))


@pytest.mark.parametrize("bucketing", [True, False])
def test_batch_depends_on_seed_and_step_only(bucketing):
    forward = epoch_of(make_batches(bucketing=bucketing), seed=3, number=1)
    batches = make_batches(bucketing=bucketing)
    steps = range(batches.steps_per_epoch, 2 * batches.steps_per_epoch)
    # Interleaved with other seeds and epochs.
    backward = []
    for step in reversed(steps):
        batches.batch_at(9, 0)
        batches.batch_at(3, 5 * step)
        backward.append(batches.batch_at(3, step))
    assert equal(forward, backward[::-1])


def test_order_changes_with_seed_and_epoch():
    batches = make_batches(bucketing=False)
    orders = {
        (seed, number): [
            row for batch in epoch_of(batches, seed, number) for row in contents(batch)
        ]
        for seed in (0, 1)
        for number in (0, 1)
    }
    for left, right in itertools.combinations(orders.values(), 2):
        assert left != right
        assert sorted(left) == sorted(right)


def test_order_of_buckets_changes_with_epoch():
    batches = make_batches()
    widths = {tuple(batch.inputs.shape[1] for batch in epoch_of(batches, 0, n)) for n in range(6)}
    assert len(widths) > 1
    assert len({tuple(sorted(order)) for order in widths}) == 1


@pytest.mark.parametrize("bucketing", [True, False])
@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize(("batch_size", "group_size"), [(1, 1), (1, 4), (4, 2), (17, 3), (50, 1)])
def test_epoch_has_every_example_once(bucketing, shuffle, batch_size, group_size):
    batches = make_batches(
        bucketing=bucketing, shuffle=shuffle, batch_size=batch_size, group_size=group_size
    )
    rows = sequences()
    expected = sorted(
        (tuple(rows.values[start:end]), row % 3)
        for row, (start, end) in enumerate(itertools.pairwise(rows.offsets))
    )
    for number in range(2):
        examples, fillers = [], 0
        for batch in epoch_of(batches, 5, number):
            assert set(batch.weights) <= {0.0, 1.0}
            real = batch.weights == 1
            examples += list(zip(contents(batch), batch.targets[real].tolist(), strict=True))
            fillers += np.sum(~real)
            assert not batch.inputs[~real].any()
            assert not batch.targets[~real].any()
            assert not batch.mask[~real].any()
        assert sorted(examples) == expected
        assert len(examples) + fillers == batches.steps_per_epoch * batch_size


def test_dtypes_of_batch():
    batch = make_batches().batch_at(0, 0)
    types = [array.dtype for array in batch]
    assert types == [np.int32, np.bool_, np.int32, np.float32]


@pytest.mark.parametrize("bucketing", [True, False])
def test_batch_is_padded_to_smallest_boundary(bucketing):
    batches = make_batches(bucketing=bucketing)
    for batch in epoch_of(batches):
        longest = max(len(row) for row in contents(batch))
        assert batch.inputs.shape == (4, min(b for b in (3, 6, 9) if b >= longest))


@pytest.mark.parametrize("bucketing", [True, False])
def test_batch_order_is_pinned(bucketing):
    # A change here changes the training data of every recorded seed.
    batches = make_batches(bucketing=bucketing)
    expected = {
        True: [[6, 13, 5, 12], [8, 9, 15, 3], [0, 1, 10], [16, 4], [14, 2, 11, 7]],
        False: [[3, 8, 6, 12], [5, 15, 7, 0], [13, 2, 10, 9], [11, 1, 14, 16], [4]],
    }
    second = range(batches.steps_per_epoch, 2 * batches.steps_per_epoch)
    assert [batches.indices_at(3, step).tolist() for step in second] == expected[bucketing]


def groups_from(batches, seed, start, limit):
    """Yields the batch groups from step `start` to the end of the first epoch."""
    while start < batches.steps_per_epoch:
        yield start, (group := batches.batch_group_at(seed, start, limit))
        start += int(group.count)


@pytest.mark.parametrize("bucketing", [True, False])
@pytest.mark.parametrize(("start", "limit"), [(0, 9), (0, 2), (3, 9), (5, 1)])
def test_batch_group_equals_its_single_batches(bucketing, start, limit):
    batches = make_batches(batch_size=2, group_size=3, bucketing=bucketing)
    counts = []
    for step, group in groups_from(batches, 4, start, limit):
        count = int(group.count)
        counts.append(count)
        assert all(len(array) == 3 for array in group.batches)
        assert not any(array[count:].any() for array in group.batches)
        single = [batches.batch_at(4, step + index) for index in range(count)]
        stacked = [Batch(*(array[n] for array in group.batches)) for n in range(count)]
        assert equal(stacked, single)
    assert sum(counts) == batches.steps_per_epoch - start
    assert max(counts) == min(limit, 3)


@pytest.mark.parametrize("bucketing", [True, False])
def test_groups_are_full_and_shuffled_each_epoch(bucketing):
    batches = make_batches(batch_size=1, group_size=3, bucketing=bucketing)
    widths = [group.batches.inputs.shape[2] for _, group in groups_from(batches, 0, 0, 9)]
    # 7 examples of up to 3 tokens, 6 of up to 6, 4 of up to 9.
    assert sorted(widths) == [3, 3, 3, 6, 6, 9, 9]
    orders = {
        tuple(batches.batch_at(0, step).inputs.shape[1] for step in range(first, first + 17))
        for first in (0, 17, 34)
    }
    assert len(orders) == 3


def test_unshuffled_groups_join_neighbours_only():
    batches = make_batches(batch_size=2, group_size=3, bucketing=False, shuffle=False)
    rows = [batches.indices_at(0, step)[0] for step in range(batches.steps_per_epoch)]
    assert rows == [*range(0, len(LENGTHS), 2)]
    counts = [int(group.count) for _, group in groups_from(batches, 0, 0, 9)]
    # Padded to 3, 9, 6, 9, 6, 9, 3, 9 and 6.
    assert counts == [1] * 9


def test_empty_batches_have_the_shapes_of_an_epoch():
    batches = make_batches(boundaries=(3, 6, 9, 20), group_size=2)
    shapes = {batch.inputs.shape for batch in epoch_of(batches)}
    assert [batch.inputs.shape for batch in batches.empty_batches()] == sorted(shapes)
    for empty in batches.empty_batch_groups():
        assert empty.batches.inputs.shape[:2] == (2, 4)
        assert empty.batches.inputs.shape[1:] in shapes
        assert empty.count == 0


def test_bucket_has_sequences_of_similar_length():
    for batch in epoch_of(make_batches()):
        width = batch.inputs.shape[1]
        for row in contents(batch):
            assert width - 3 < len(row) <= width or width == 3


@pytest.mark.parametrize("bucketing", [True, False])
def test_empty_bucket_has_no_step(bucketing):
    batches = make_batches(boundaries=(3, 9, 20, 30), bucketing=bucketing)
    assert batches.steps_per_epoch == 5
    assert len(epoch_of(batches)) == 5


def test_unshuffled_examples_stay_in_order():
    batches = make_batches(bucketing=False, shuffle=False)
    rows = np.concatenate([batches.indices_at(8, step) for step in range(batches.steps_per_epoch)])
    assert rows.tolist() == list(range(len(LENGTHS)))
    bucketed = make_batches(shuffle=False)
    for step in range(bucketed.steps_per_epoch):
        rows = bucketed.indices_at(8, step).tolist()
        assert rows == sorted(rows)


def test_mask_is_false_on_padding():
    batches = make_batches(bucketing=False)
    for step in range(batches.steps_per_epoch):
        batch = batches.batch_at(0, step)
        for index, row in enumerate(batches.indices_at(0, step)):
            assert batch.mask[index].tolist() == [
                time < LENGTHS[row] for time in range(batch.mask.shape[1])
            ]
            assert (batch.inputs[index, : LENGTHS[row]] > 0).all()
            assert not batch.inputs[index, LENGTHS[row] :].any()


def test_unmasked_padding_ends_at_longest_example():
    batches = make_batches(bucketing=False, mask_padding=False)
    trailing = 0
    for step in range(batches.steps_per_epoch):
        batch = batches.batch_at(0, step)
        longest = max(LENGTHS[row] for row in batches.indices_at(0, step))
        assert batch.mask[:, :longest].all()
        assert not batch.mask[:, longest:].any()
        trailing += batch.mask.shape[1] - longest
    assert trailing, "no boundary is longer than its batch: the test cannot fail"
    masked = epoch_of(dataclasses.replace(batches, mask_padding=True))
    for unmasked, reference in zip(epoch_of(batches), masked, strict=True):
        np.testing.assert_array_equal(unmasked.inputs, reference.inputs)


def test_empty_sequences_are_batched():
    batches = Batches(
        Sequences.from_lists([[], [], []]),
        np.zeros(3, np.int32),
        2,
        boundaries=(1,),
        mask_padding=False,
    )
    batch = batches.batch_at(0, 0)
    assert batch.inputs.shape == (2, 1)
    assert not batch.mask.any()
    assert batch.weights.sum() + batches.batch_at(0, 1).weights.sum() == 3


def test_take_selects_sequences_in_order():
    taken = Sequences.from_lists([[1, 2], [], [3], [4, 5, 6]]).take(np.array([3, 1, 0, 3]))
    assert taken.values.tolist() == [4, 5, 6, 1, 2, 4, 5, 6]
    assert taken.lengths.tolist() == [3, 0, 2, 3]
    empty = Sequences.from_lists([[1]]).take(np.array([], np.int64))
    assert len(empty) == 0
    assert empty.values.dtype == np.int32


def test_permutation_is_pinned():
    # A change here changes the training data of every seed.
    assert permutation(10, 0).tolist() == [3, 2, 1, 8, 6, 0, 7, 4, 5, 9]
    assert permutation(10, 3, 1, 2).tolist() == [7, 8, 2, 3, 9, 4, 0, 5, 1, 6]


def test_permutation_has_every_index_once():
    assert sorted(permutation(1000, 5)) == list(range(1000))
    assert len(permutation(0, 5)) == 0
    assert permutation(1000, 1, 2).tolist() != permutation(1000, 2, 1).tolist()


def padded_steps(lengths, boundaries, batch_size):
    """Returns the padded time steps of all batches of an epoch."""
    buckets = np.searchsorted(boundaries, lengths)
    counts = np.bincount(buckets, minlength=len(boundaries))
    return int(np.sum(-(-counts // batch_size) * np.asarray(boundaries)))


@pytest.mark.parametrize("boundary_cost", [0.0, 2.5, 40.0])
@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_boundaries_have_least_cost(batch_size, boundary_cost):
    rng = np.random.default_rng(batch_size)
    for _ in range(100):
        lengths = rng.integers(0, 12, rng.integers(1, 30))
        limit = int(rng.integers(1, 5))
        padded = np.maximum(lengths, 1)
        longest = int(padded.max())

        def cost(boundaries, padded=padded):
            return padded_steps(padded, boundaries, batch_size) + boundary_cost * len(boundaries)

        chosen = choose_boundaries(lengths, limit, batch_size, boundary_cost)
        cheapest = min(
            cost((*shorter, longest))
            for count in range(min(limit, longest))
            for shorter in itertools.combinations(range(1, longest), count)
        )
        assert len(chosen) <= limit
        assert list(chosen) == sorted(set(chosen))
        assert chosen[-1] == longest
        assert cost(chosen) == cheapest


def test_no_superfluous_boundary():
    assert choose_boundaries(np.array([5, 5, 6]), 6, batch_size=3) == (6,)
    assert choose_boundaries(np.array([0, 0]), 6) == (1,)
    assert choose_boundaries(np.array([4, 2, 9, 2]), 6) == (2, 4, 9)


def test_boundaries_of_many_lengths_beat_quartiles():
    lengths = np.random.default_rng(0).permutation(5000)[:3000] + 1
    chosen = choose_boundaries(lengths, 4)
    assert chosen[-1] == lengths.max()
    quarters = tuple(
        int(length) for length in np.quantile(lengths, [0.25, 0.5, 0.75, 1], method="higher")
    )
    assert padded_steps(lengths, chosen, 1) <= padded_steps(lengths, quarters, 1)
