"""Made examples in batches: a pure function of seed and step, new ones at every step."""

from typing import Any

import numpy as np
import pytest

from rnnjax.config import parse
from rnnjax.data import synthetic
from rnnjax.data.synthetic import uniform_rows
from rnnjax.data.synthetic_problems import PROBLEMS
from rnnjax.errors import InputError


def dataset(batch_size=4, validation=0.5, steps_per_call=1, **given: Any) -> Any:
    """Returns the data of a config; ten examples an epoch."""
    config = parse(
        {
            "task": "memory",
            "batch_size": batch_size,
            "steps_per_call": steps_per_call,
            "data": {
                "validation": validation,
                "memory": {
                    "problem": "copy",
                    "length": 5,
                    "examples": 10,
                    "test_examples": 7,
                    **given,
                },
            },
        }
    )
    return synthetic.make_dataset(config, synthetic.load_problem(config.data.memory))


def same(one, other):
    """Returns whether two batches are the same."""
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def examples(part, count, seed=0):
    """Returns the inputs of the first examples, over as many batches as it takes."""
    found, step = [], 0
    while len(found) < count:
        batch = part.batch_at(seed, step)
        found += [row for row, real in zip(batch.inputs, batch.mask, strict=True) if real.any()]
        step += 1
    return np.array(found[:count])


def test_uniform_rows_are_those_of_the_raw_stream():
    stream = np.random.PCG64(np.random.SeedSequence((3, 1)))
    words = [int(stream.random_raw()) for _ in range(12)]
    expected = np.array([word / 2**64 for word in words]).reshape(4, 3)
    np.testing.assert_allclose(uniform_rows(range(4), 3, 3, 1), expected, atol=2**-53)
    np.testing.assert_array_equal(
        uniform_rows(range(2, 4), 3, 3, 1), uniform_rows(range(4), 3, 3, 1)[2:]
    )
    # NumPy promises this very number; a change would change every recorded run.
    assert uniform_rows(range(1), 1, 0)[0, 0] == 0.6369616873214543


def test_a_batch_follows_from_seed_and_step_alone():
    one, other = dataset().train, dataset().train
    batches = {(seed, step): one.batch_at(seed, step) for step in (6, 0, 3) for seed in (8, 7)}
    for (seed, step), batch in batches.items():
        assert same(batch, other.batch_at(seed, step))
    found = list(batches.values())
    assert not any(same(a, b) for i, a in enumerate(found) for b in found[:i])


def test_every_example_is_new_and_no_batch_size_changes_it():
    rows = examples(dataset(batch_size=4).train, 40, seed=2)
    np.testing.assert_array_equal(rows, examples(dataset(batch_size=5).train, 40, seed=2))
    assert len({row.tobytes() for row in rows}) == 40


def test_the_fixed_parts_are_the_same_for_every_seed_and_epoch():
    data = dataset()
    assert (len(data.train), len(data.validation), len(data.test)) == (10, 5, 7)
    for part in (data.validation, data.test):
        steps = part.steps_per_epoch
        assert same(part.batch_at(0, 1), part.batch_at(5, 1 + 3 * steps))
        assert not same(part.batch_at(0, 0), part.batch_at(0, 1))
    parts = [examples(part, 5) for part in (data.train, data.validation, data.test)]
    assert not any(np.array_equal(a, b) for a, b in zip(parts, parts[1:] + parts[:1], strict=True))


def test_rows_beyond_the_last_example_weigh_nothing():
    batch = dataset().train.batch_at(0, 2)  # of ten examples in fours, the last two
    assert batch.mask.any(1).tolist() == [True, True, False, False]
    for leaf in batch:
        assert not leaf[2:].any()
        assert leaf.shape[0] == 4


def test_lengths_are_drawn_and_test_sequences_are_of_their_own_length():
    data = dataset(
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
    copying = dataset(min_length=3, test_length=80)
    assert copying.validation.baseline == PROBLEMS["copy"].baseline(4)
    assert copying.test.baseline == PROBLEMS["copy"].baseline(80)


def test_a_stack_is_its_batches_and_blanks():
    train = dataset(steps_per_call=3).train
    stack = train.batch_group_at(1, 4, 2)
    assert stack.count == 2
    for index in range(2):
        assert same([leaf[index] for leaf in stack.batches], train.batch_at(1, 4 + index))
    assert not stack.batches.weights[2].any()
    (blank,) = train.empty_batch_groups()
    assert [leaf.shape for leaf in blank.batches] == [leaf.shape for leaf in stack.batches]


def test_what_a_run_says_of_it():
    told = dataset().describe()
    assert told["name"] == "copy"
    assert told["rows"] == {"train": 10, "validation": 5, "test": 7}
    assert "vocabulary" not in told
    assert told["fingerprint"] == dataset(batch_size=3, examples=50).describe()["fingerprint"]
    changes: list[dict[str, Any]] = [{"test_examples": 8}, {"length": 6}, {"problem": "adding"}]
    others = [dataset(**each) for each in changes]
    assert len({told["fingerprint"], *(each.describe()["fingerprint"] for each in others)}) == 4


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"problem": "adding", "length": 1}, r"memory\.length: given 1, and 'adding' needs .* 2"),
        ({"problem": "adding", "test_length": 1}, r"memory\.test_length: given 1"),
        ({"validation": 0.01}, r"0\.01 of 10 examples is 0"),
        ({"min_length": 6}, r"min_length is 6 and data\.memory\.length 5"),
        ({"problem": "pasting"}, r"problem: given 'pasting'"),
    ],
)
def test_what_makes_no_sense_is_refused(given, message):
    with pytest.raises(InputError, match=message):
        dataset(**given)
