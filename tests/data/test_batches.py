"""Batches: every example once an epoch, in few shapes, as a pure function of seed and step."""

import dataclasses
import itertools

import numpy as np
import pytest

from rnnjax.data.batches import Batch, Batches, Sequences, choose_boundaries, permutation

LENGTHS = [3, 1, 7, 4, 4, 0, 2, 9, 6, 5, 1, 8, 3, 2, 7, 5, 4]
"""Of the examples; no two have the same tokens but the empty one."""


def sequences():
    """Returns sequences whose first token names the row."""
    return Sequences.from_lists(
        [[100 + row, *range(1, length)][:length] for row, length in enumerate(LENGTHS)]
    )


def batches(**options):
    """Returns batches of four of the sequences above."""
    given = {"batch_size": 4, "boundaries": (3, 6, 9), **options}
    labels = np.arange(len(LENGTHS), dtype=np.int32) % 3
    return Batches(sequences(), labels, **given)


def epoch(given, seed=0, number=0):
    """Returns the batches of an epoch."""
    steps = range(given.steps_per_epoch * number, given.steps_per_epoch * (number + 1))
    return [given.batch_at(seed, step) for step in steps]


def contents(batch):
    """Returns the sequences of a batch, rows of weight zero left out, as tuples."""
    kept = zip(batch.tokens, batch.mask, batch.weights, strict=True)
    return [tuple(tokens[mask]) for tokens, mask, weight in kept if weight]


def same(one, other):
    """Says if two lists of batches hold the same arrays."""
    pairs = zip(one, other, strict=True)
    return all(np.array_equal(a, b) for x, y in pairs for a, b in zip(x, y, strict=True))


@pytest.mark.parametrize("bucketing", [True, False])
def test_a_batch_follows_from_seed_and_step_alone(bucketing):
    there = epoch(batches(bucketing=bucketing), seed=3, number=1)
    given = batches(bucketing=bucketing)
    steps = range(given.steps_per_epoch, 2 * given.steps_per_epoch)
    # Other seeds and epochs are asked for in between.
    back = []
    for step in reversed(steps):
        given.batch_at(9, 0)
        given.batch_at(3, 5 * step)
        back.append(given.batch_at(3, step))
    assert same(there, back[::-1])


def test_another_seed_and_another_epoch_are_another_order():
    given = batches(bucketing=False)
    orders = {
        (seed, number): [row for batch in epoch(given, seed, number) for row in contents(batch)]
        for seed in (0, 1)
        for number in (0, 1)
    }
    for one, other in itertools.combinations(orders.values(), 2):
        assert one != other
        assert sorted(one) == sorted(other)


def test_the_batches_of_an_epoch_come_in_another_order_too():
    given = batches()
    widths = {tuple(batch.tokens.shape[1] for batch in epoch(given, 0, n)) for n in range(6)}
    assert len(widths) > 1
    assert len({tuple(sorted(each)) for each in widths}) == 1


@pytest.mark.parametrize("bucketing", [True, False])
@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize(("batch_size", "group"), [(1, 1), (1, 4), (4, 2), (17, 3), (50, 1)])
def test_every_example_is_seen_once_an_epoch(bucketing, shuffle, batch_size, group):
    given = batches(bucketing=bucketing, shuffle=shuffle, batch_size=batch_size, group_size=group)
    whole = sequences()
    expected = sorted(
        (tuple(whole.tokens[start:end]), row % 3)
        for row, (start, end) in enumerate(itertools.pairwise(whole.offsets))
    )
    for number in range(2):
        seen, fillers = [], 0
        for batch in epoch(given, 5, number):
            assert set(batch.weights) <= {0.0, 1.0}
            real = batch.weights == 1
            seen += list(zip(contents(batch), batch.labels[real].tolist(), strict=True))
            fillers += np.sum(~real)
            assert not batch.tokens[~real].any()
            assert not batch.labels[~real].any()
            assert not batch.mask[~real].any()
        assert sorted(seen) == expected
        assert len(seen) + fillers == given.steps_per_epoch * batch_size


def test_arrays_have_the_types_that_are_said():
    batch = batches().batch_at(0, 0)
    types = [each.dtype for each in batch]
    assert types == [np.int32, np.bool_, np.int32, np.float32]


@pytest.mark.parametrize("bucketing", [True, False])
def test_a_batch_is_as_wide_as_the_first_boundary_that_holds_it(bucketing):
    given = batches(bucketing=bucketing)
    for batch in epoch(given):
        longest = max(len(row) for row in contents(batch))
        assert batch.tokens.shape == (4, min(b for b in (3, 6, 9) if b >= longest))


@pytest.mark.parametrize("bucketing", [True, False])
def test_the_order_of_single_batches_never_changes(bucketing):
    # A change here changes what every recorded seed has trained on.
    given = batches(bucketing=bucketing)
    expected = {
        True: [[6, 13, 5, 12], [8, 9, 15, 3], [0, 1, 10], [16, 4], [14, 2, 11, 7]],
        False: [[3, 8, 6, 12], [5, 15, 7, 0], [13, 2, 10, 9], [11, 1, 14, 16], [4]],
    }
    second = range(given.steps_per_epoch, 2 * given.steps_per_epoch)
    assert [given.indices_at(3, step).tolist() for step in second] == expected[bucketing]


def stacks(given, seed, start, most):
    """Returns the stacks of the steps from `start` to the end of the first epoch."""
    while start < given.steps_per_epoch:
        yield start, (stack := given.batch_group_at(seed, start, most))
        start += int(stack.count)


@pytest.mark.parametrize("bucketing", [True, False])
@pytest.mark.parametrize(("start", "most"), [(0, 9), (0, 2), (3, 9), (5, 1)])
def test_a_stack_holds_the_batches_of_its_steps_wherever_it_is_cut(bucketing, start, most):
    given = batches(batch_size=2, group_size=3, bucketing=bucketing)
    counts = []
    for step, stack in stacks(given, 4, start, most):
        count = int(stack.count)
        counts.append(count)
        assert all(len(each) == 3 for each in stack.batches)
        assert not any(each[count:].any() for each in stack.batches)
        one_by_one = [given.batch_at(4, step + index) for index in range(count)]
        assert same([Batch(*(each[n] for each in stack.batches)) for n in range(count)], one_by_one)
    assert sum(counts) == given.steps_per_epoch - start
    assert max(counts) == min(most, 3)


@pytest.mark.parametrize("bucketing", [True, False])
def test_groups_are_as_large_as_can_be_and_come_in_another_order_each_epoch(bucketing):
    given = batches(batch_size=1, group_size=3, bucketing=bucketing)
    widths = [stack.batches.tokens.shape[2] for _, stack in stacks(given, 0, 0, 9)]
    # 7 examples of up to 3 tokens, 6 of up to 6, 4 of up to 9.
    assert sorted(widths) == [3, 3, 3, 6, 6, 9, 9]
    orders = {
        tuple(given.batch_at(0, step).tokens.shape[1] for step in range(first, first + 17))
        for first in (0, 17, 34)
    }
    assert len(orders) == 3


def test_without_shuffling_only_neighbours_share_a_stack():
    given = batches(batch_size=2, group_size=3, bucketing=False, shuffle=False)
    rows = [given.indices_at(0, step)[0] for step in range(given.steps_per_epoch)]
    assert rows == [*range(0, len(LENGTHS), 2)]
    counts = [int(stack.count) for _, stack in stacks(given, 0, 0, 9)]
    # Padded to 3, 9, 6, 9, 6, 9, 3, 9 and 6.
    assert counts == [1] * 9


def test_blanks_have_the_shapes_that_will_come():
    given = batches(boundaries=(3, 6, 9, 20), group_size=2)
    shapes = {batch.tokens.shape for batch in epoch(given)}
    assert [batch.tokens.shape for batch in given.empty_batches()] == sorted(shapes)
    for blank in given.empty_batch_groups():
        assert blank.batches.tokens.shape[:2] == (2, 4)
        assert blank.batches.tokens.shape[1:] in shapes
        assert blank.count == 0


def test_a_bucket_holds_sequences_of_like_length():
    for batch in epoch(batches()):
        width = batch.tokens.shape[1]
        for row in contents(batch):
            assert width - 3 < len(row) <= width or width == 3


@pytest.mark.parametrize("bucketing", [True, False])
def test_a_bucket_without_examples_costs_no_step(bucketing):
    given = batches(boundaries=(3, 9, 20, 30), bucketing=bucketing)
    assert given.steps_per_epoch == 5
    assert len(epoch(given)) == 5


def test_without_shuffling_the_rows_keep_their_order():
    given = batches(bucketing=False, shuffle=False)
    rows = np.concatenate([given.indices_at(8, step) for step in range(given.steps_per_epoch)])
    assert rows.tolist() == list(range(len(LENGTHS)))
    bucketed = batches(shuffle=False)
    for step in range(bucketed.steps_per_epoch):
        rows = bucketed.indices_at(8, step).tolist()
        assert rows == sorted(rows)


def test_padding_is_masked():
    given = batches(bucketing=False)
    for step in range(given.steps_per_epoch):
        batch = given.batch_at(0, step)
        for index, row in enumerate(given.indices_at(0, step)):
            assert batch.mask[index].tolist() == [
                time < LENGTHS[row] for time in range(batch.mask.shape[1])
            ]
            assert (batch.tokens[index, : LENGTHS[row]] > 0).all()
            assert not batch.tokens[index, LENGTHS[row] :].any()


def test_padding_that_is_read_reaches_to_the_longest_and_not_further():
    given = batches(bucketing=False, mask_padding=False)
    beyond = 0
    for step in range(given.steps_per_epoch):
        batch = given.batch_at(0, step)
        longest = max(LENGTHS[row] for row in given.indices_at(0, step))
        assert batch.mask[:, :longest].all()
        assert not batch.mask[:, longest:].any()
        beyond += batch.mask.shape[1] - longest
    assert beyond, "no boundary was longer than its batch: the test shows nothing"
    masked = epoch(dataclasses.replace(given, mask_padding=True))
    for one, other in zip(epoch(given), masked, strict=True):
        np.testing.assert_array_equal(one.tokens, other.tokens)


def test_empty_sequences_make_a_batch():
    given = Batches(
        Sequences.from_lists([[], [], []]),
        np.zeros(3, np.int32),
        2,
        boundaries=(1,),
        mask_padding=False,
    )
    batch = given.batch_at(0, 0)
    assert batch.tokens.shape == (2, 1)
    assert not batch.mask.any()
    assert batch.weights.sum() + given.batch_at(0, 1).weights.sum() == 3


def test_sequences_are_taken_in_the_order_asked_for():
    taken = Sequences.from_lists([[1, 2], [], [3], [4, 5, 6]]).take(np.array([3, 1, 0, 3]))
    assert taken.tokens.tolist() == [4, 5, 6, 1, 2, 4, 5, 6]
    assert taken.lengths.tolist() == [3, 0, 2, 3]
    nothing = Sequences.from_lists([[1]]).take(np.array([], np.int64))
    assert len(nothing) == 0
    assert nothing.tokens.dtype == np.int32


def test_an_order_never_changes():
    # A change here changes what every seed trains on.
    assert permutation(10, 0).tolist() == [3, 2, 1, 8, 6, 0, 7, 4, 5, 9]
    assert permutation(10, 3, 1, 2).tolist() == [7, 8, 2, 3, 9, 4, 0, 5, 1, 6]


def test_an_order_has_every_number_once():
    assert sorted(permutation(1000, 5)) == list(range(1000))
    assert len(permutation(0, 5)) == 0
    assert permutation(1000, 1, 2).tolist() != permutation(1000, 2, 1).tolist()


def steps_of(lengths, boundaries, group):
    """Returns what an epoch costs: the padded steps of all groups."""
    of = np.searchsorted(boundaries, lengths)
    counts = np.bincount(of, minlength=len(boundaries))
    return int(np.sum(-(-counts // group) * np.asarray(boundaries)))


@pytest.mark.parametrize("price", [0.0, 2.5, 40.0])
@pytest.mark.parametrize("group", [1, 3, 8])
def test_the_boundaries_are_the_cheapest_there_are(group, price):
    rng = np.random.default_rng(group)
    for _ in range(100):
        lengths = rng.integers(0, 12, rng.integers(1, 30))
        most = int(rng.integers(1, 5))
        padded = np.maximum(lengths, 1)
        longest = int(padded.max())

        def cost(boundaries, padded=padded):
            return steps_of(padded, boundaries, group) + price * len(boundaries)

        chosen = choose_boundaries(lengths, most, group, price)
        cheapest = min(
            cost((*some, longest))
            for count in range(min(most, longest))
            for some in itertools.combinations(range(1, longest), count)
        )
        assert len(chosen) <= most
        assert list(chosen) == sorted(set(chosen))
        assert chosen[-1] == longest
        assert cost(chosen) == cheapest


def test_no_boundary_is_made_that_saves_nothing():
    assert choose_boundaries(np.array([5, 5, 6]), 6, batch_size=3) == (6,)
    assert choose_boundaries(np.array([0, 0]), 6) == (1,)
    assert choose_boundaries(np.array([4, 2, 9, 2]), 6) == (2, 4, 9)


def test_many_different_lengths_get_good_boundaries_still():
    lengths = np.random.default_rng(0).permutation(5000)[:3000] + 1
    chosen = choose_boundaries(lengths, 4)
    assert chosen[-1] == lengths.max()
    quarters = tuple(
        int(each) for each in np.quantile(lengths, [0.25, 0.5, 0.75, 1], method="higher")
    )
    assert steps_of(lengths, chosen, 1) <= steps_of(lengths, quarters, 1)
