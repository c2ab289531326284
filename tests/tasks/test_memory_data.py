"""Synthetic batches: a pure function of seed and step, new at every step."""

import itertools
from typing import Any

import numpy as np
import pytest

from rnnjax.config import parse
from rnnjax.errors import InputError
from rnnjax.tasks.memory import data as synthetic
from rnnjax.tasks.memory.config import MemoryConfig
from rnnjax.tasks.memory.data import uniform_rows
from rnnjax.tasks.memory.problems import PROBLEMS


def make(batch_size=4, validation=0.5, steps_per_call=1, **memory: Any) -> Any:
    """Returns the data set of a config; ten examples an epoch."""
    config = parse(
        {
            "task": "memory",
            "batch_size": batch_size,
            "steps_per_call": steps_per_call,
            "data": {"validation": validation},
            "memory": {
                "problem": "copy",
                "length": 5,
                "examples": 10,
                "test_examples": 7,
                **memory,
            },
        }
    )
    return synthetic.make_dataset(config, synthetic.load_problem(config.section(MemoryConfig)))


def equal(left, right):
    """Returns whether two batches are equal."""
    return all(np.array_equal(a, b) for a, b in zip(left, right, strict=True))


def examples(split, count, seed=0):
    """Returns the inputs of the first examples of a split."""
    rows, step = [], 0
    while len(rows) < count:
        batch = split.batch_at(seed, step)
        rows += [row for row, mask in zip(batch.inputs, batch.mask, strict=True) if mask.any()]
        step += 1
    return np.array(rows[:count])


def test_uniform_rows_are_pinned_to_the_raw_stream():
    stream = np.random.PCG64(np.random.SeedSequence((3, 1)))
    words = [int(stream.random_raw()) for _ in range(12)]
    expected = np.array([word / 2**64 for word in words]).reshape(4, 3)
    np.testing.assert_allclose(uniform_rows(range(4), 3, 3, 1), expected, atol=2**-53)
    np.testing.assert_array_equal(
        uniform_rows(range(2, 4), 3, 3, 1), uniform_rows(range(4), 3, 3, 1)[2:]
    )
    # NumPy promises this number; a change would change every recorded run.
    assert uniform_rows(range(1), 1, 0)[0, 0] == 0.6369616873214543


def test_batch_depends_on_seed_and_step_only():
    train, copy = make().train, make().train
    steps = [(seed, step) for step in (6, 0, 3) for seed in (8, 7)]
    batches = [train.batch_at(*step) for step in steps]
    for step, batch in zip(reversed(steps), reversed(batches), strict=True):
        assert equal(batch, copy.batch_at(*step))
    assert not any(equal(a, b) for i, a in enumerate(batches) for b in batches[:i])


def test_training_examples_are_new_whatever_the_batch_size():
    rows = examples(make(batch_size=4).train, 40, seed=2)
    np.testing.assert_array_equal(rows, examples(make(batch_size=5).train, 40, seed=2))
    assert len({row.tobytes() for row in rows}) == 40


def test_fixed_splits_do_not_depend_on_seed_and_epoch():
    data = make()
    assert (len(data.train), len(data.validation), len(data.test)) == (10, 5, 7)
    for split in (data.validation, data.test):
        steps = split.steps_per_epoch
        assert equal(split.batch_at(0, 1), split.batch_at(5, 1 + 3 * steps))
        assert not equal(split.batch_at(0, 0), split.batch_at(0, 1))
    splits = [examples(split, 5) for split in (data.train, data.validation, data.test)]
    pairs = itertools.combinations(splits, 2)
    assert not any(np.array_equal(left, right) for left, right in pairs)


def test_rows_after_last_example_are_zero():
    batch = make().train.batch_at(0, 2)  # of ten examples in fours, the last two
    assert batch.mask.any(1).tolist() == [True, True, False, False]
    for leaf in batch:
        assert not leaf[2:].any()
        assert leaf.shape[0] == 4


def test_lengths_are_uniform_and_test_length_is_fixed():
    data = make(
        batch_size=300,
        examples=900,
        min_length=2,
        test_length=40,
        problem="parity",
        test_examples=9,
    )
    lengths = np.concatenate([data.train.batch_at(0, step).mask.sum(1) for step in range(3)])
    assert set(lengths) == {2, 3, 4, 5}
    assert np.bincount(lengths)[2:].min() > 170
    assert set(data.validation.batch_at(0, 0).mask.sum(1)) == {2, 3, 4, 5}
    assert set(data.test.batch_at(0, 0).mask.sum(1)) == {40, 0}
    assert data.train.boundaries == (5,)
    assert data.test.boundaries == (40,)
    copying = make(min_length=3, test_length=80)
    assert copying.validation.baseline == PROBLEMS["copy"].baseline(range(4, 5))
    assert copying.test.baseline == PROBLEMS["copy"].baseline(range(80, 81))


def test_batch_group_is_padded_with_empty_batches():
    train = make(steps_per_call=3).train
    group = train.batch_group_at(1, 4, 2)
    assert group.count == 2
    for index in range(2):
        assert equal([leaf[index] for leaf in group.batches], train.batch_at(1, 4 + index))
    assert not group.batches.weights[2].any()
    (empty,) = train.empty_batch_groups()
    assert [leaf.shape for leaf in empty.batches] == [leaf.shape for leaf in group.batches]


def test_describe():
    description = make().describe()
    assert description["name"] == "copy"
    assert description["rows"] == {"train": 10, "validation": 5, "test": 7}
    assert "vocabulary" not in description
    assert description["fingerprint"] == make(batch_size=3, examples=50).describe()["fingerprint"]
    changes: list[dict[str, Any]] = [{"test_examples": 8}, {"length": 6}, {"problem": "adding"}]
    fingerprints = {make(**change).describe()["fingerprint"] for change in changes}
    assert len({description["fingerprint"], *fingerprints}) == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"problem": "adding", "length": 1}, r"memory\.length: given 1, and 'adding' needs .* 2"),
        ({"problem": "adding", "test_length": 1}, r"memory\.test_length: given 1"),
        ({"validation": 0.01}, r"0\.01 of 10 examples is 0"),
        ({"min_length": 6}, r"min_length is 6 and memory\.length 5"),
        ({"problem": "pasting"}, r"problem: given 'pasting'"),
    ],
)
def test_invalid_options_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        make(**options)
