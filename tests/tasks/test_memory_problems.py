"""Synthetic problems: definitions checked by hand, baselines by simulation."""

import math
from typing import Any

import numpy as np
import pytest

from rnnjax.tasks.memory import problems
from rnnjax.tasks.memory.data import uniform_rows
from rnnjax.tasks.memory.long_memory import BLANK, DELIMITER, LONG_MEMORY

PROBLEMS: dict[str, Any] = {**problems.PROBLEMS}


def generate(name, lengths, draws=None, seed=0):
    """Generates examples of these lengths."""
    problem, lengths = PROBLEMS[name], np.asarray(lengths)
    if draws is None:
        draws = uniform_rows(range(len(lengths)), problem.num_draws(int(lengths.max())), seed)
    return problem.generate(np.asarray(draws, float), lengths, int(lengths.max()))


def symbols(batch):
    """Returns the unmasked inputs of copying as symbol numbers."""
    rows = zip(batch.inputs.argmax(-1), batch.mask, strict=True)
    return [row[mask].tolist() for row, mask in rows]


def test_adding_by_hand():
    # Values, then the positions of the marks in their halves: of six steps 0 to 2 and 3 to 5.
    draws = [[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.99, 0.0], [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.0, 0.99]]
    batch = generate("adding", [6, 5], draws)
    np.testing.assert_allclose(batch.inputs[0, :, 0], draws[0][:6], rtol=1e-6)
    assert batch.inputs[:, :, 1].tolist() == [[0, 0, 1, 1, 0, 0], [1, 0, 0, 0, 1, 0]]
    assert batch.mask.tolist() == [[True] * 6, [True] * 5 + [False]]
    assert batch.inputs[1, 5].tolist() == [0, 0]
    np.testing.assert_allclose(batch.targets, [[0] * 5 + [0.7], [0] * 4 + [1.4, 0]], rtol=1e-6)
    assert batch.weights.tolist() == [[0] * 5 + [1], [0] * 4 + [1, 0]]
    assert (batch.recalls == (batch.weights > 0)).all()


def test_parity_by_hand():
    draws = [[0.1, 0.9, 0.2, 0.3], [0.7, 0.3, 0.3, 0.1]]
    batch = generate("parity", [4, 3], draws)
    assert batch.inputs[..., 1].tolist() == [[1, 0, 1, 1], [0, 1, 1, 0]]
    assert batch.inputs[..., 0].tolist() == [[0, 1, 0, 0], [1, 0, 0, 0]]
    assert batch.targets.tolist() == [[0, 0, 0, 1], [0, 0, 0, 0]]
    assert batch.weights.tolist() == [[0, 0, 0, 1], [0, 0, 1, 0]]


def test_copying_by_hand():
    symbol_ids = [0, 1, 2, 3, 4, 5, 6, 7, 7, 0]
    draws = (np.array([symbol_ids, symbol_ids[::-1]]) + 0.5) / 8
    batch = generate("copy", [4, 2], draws)
    first, second = symbols(batch)
    assert first == [*symbol_ids, *[BLANK] * 3, DELIMITER, *[BLANK] * 10]
    assert len(first) == 4 + 20
    assert second == [*symbol_ids[::-1], BLANK, DELIMITER, *[BLANK] * 10]
    assert batch.targets[0].tolist() == [BLANK] * 14 + symbol_ids
    assert batch.targets[1].tolist() == [BLANK] * 12 + symbol_ids[::-1] + [0, 0]
    assert batch.weights.sum(1).tolist() == [24, 22]
    assert [row.nonzero()[0].tolist() for row in batch.recalls] == [
        list(range(14, 24)),
        list(range(12, 22)),
    ]


def test_selective_copying_by_hand():
    symbol_ids = [0, 1, 2, 3, 4, 5, 6, 7, 7, 0]
    positions = [0, 2, 3, 4, 5, 6, 7, 8, 9, 11]
    keys = np.where(np.isin(np.arange(12), positions), 0.3, 0.8)
    batch = generate("selective_copy", [3], [[*((np.array(symbol_ids) + 0.5) / 8), *keys]])
    assert symbols(batch) == [
        [0, BLANK, *symbol_ids[1:9], BLANK, symbol_ids[9], DELIMITER, *[BLANK] * 10],
    ]
    assert batch.targets[0].tolist() == [BLANK] * 13 + symbol_ids


def test_symbol_positions_of_selective_copying_are_uniform():
    lengths = np.tile([1, 30, 60], 400)
    batch = generate("selective_copy", lengths)
    inputs = batch.inputs.argmax(-1)
    for row, length, targets in zip(inputs, lengths, batch.targets, strict=True):
        end = length + 9
        assert row[end] == DELIMITER
        symbol_ids = row[:end][row[:end] < BLANK]
        assert symbol_ids.tolist() == targets[end + 1 : end + 11].tolist()
        assert (row[end + 1 : end + 11] == BLANK).all()
    is_symbol = (inputs[lengths == 60] < BLANK) & batch.mask[lengths == 60]
    share = is_symbol[:, :69].mean(0)
    assert abs(share - 10 / 69).max() < 0.07  # of 400 rows, four standard deviations
    assert not is_symbol[:, 69:].any()


@pytest.mark.parametrize("name", PROBLEMS)
def test_example_is_independent_of_its_batch(name):
    problem = PROBLEMS[name]
    draws = uniform_rows(range(6), problem.num_draws(12), 3)
    lengths = np.array([12, 7, 9, 12, 3, 5])
    batch = problem.generate(draws, lengths, 12)
    smaller = problem.generate(draws[2:4], lengths[2:4], 12)
    for expected, actual in zip(batch, smaller, strict=True):
        np.testing.assert_array_equal(expected[2:4], actual)
        assert expected.dtype == actual.dtype
    for array in (batch.inputs, batch.targets, batch.weights, batch.recalls):
        assert not array[~batch.mask].any()


def test_baselines_equal_those_of_the_papers():
    lengths = range(50, 51)
    assert PROBLEMS["adding"].baseline(lengths) == 1 / 6
    assert PROBLEMS["parity"].baseline(lengths) == math.log(2)
    for name in ("copy", "selective_copy"):
        assert PROBLEMS[name].baseline(lengths) == 10 * math.log(8) / (50 + 20)


def memoryless_loss(name, batch):
    """Returns the mean loss of the best prediction from the input of each step alone."""
    weights = batch.weights
    if name == "adding":
        losses = (1.0 - batch.targets) ** 2
    elif name == "parity":
        losses = np.full(weights.shape, math.log(2))
    else:
        # It counts the steps, sees the delimiter and guesses the symbols.
        guess = np.append(np.full(8, 1 / 8), 0)
        probabilities = np.where(batch.recalls[..., None], guess, np.eye(9)[BLANK])
        likelihood = np.take_along_axis(probabilities, batch.targets[..., None], -1)[..., 0]
        losses = -np.log(likelihood, where=weights > 0, out=np.zeros_like(likelihood))
    return (losses * weights).sum() / weights.sum()


@pytest.mark.parametrize("name", LONG_MEMORY)
@pytest.mark.parametrize("length", [2, 33])
def test_baseline_is_loss_without_memory(name, length):
    batch = generate(name, np.full(20_000, length), seed=length)
    assert memoryless_loss(name, batch) == pytest.approx(
        PROBLEMS[name].baseline(range(length, length + 1)), rel=0.03 if name == "adding" else 1e-6
    )


def test_best_constant_of_adding_is_one():
    targets = generate("adding", np.full(20_000, 9)).targets[:, -1]
    losses = {answer: np.mean((targets - answer) ** 2) for answer in (0.9, 0.95, 1.0, 1.05, 1.1)}
    assert min(losses, key=losses.__getitem__) == 1.0


def test_symbols_and_parities_are_uniform():
    targets = generate("copy", np.full(5_000, 2)).targets[:, -10:]
    np.testing.assert_allclose(np.bincount(targets.ravel()) / targets.size, 1 / 8, atol=0.006)
    odd = generate("parity", np.full(20_000, 5)).targets[:, -1]
    assert abs(odd.mean() - 0.5) < 0.015


@pytest.mark.parametrize("name", ["copy", "selective_copy"])
def test_baseline_of_mixed_lengths_is_that_of_their_mean(name):
    lengths = np.tile(np.arange(5, 26), 100)
    assert memoryless_loss(name, generate(name, lengths)) == pytest.approx(
        PROBLEMS[name].baseline(range(5, 26)), rel=1e-6
    )


@pytest.mark.parametrize("lengths", [range(9, 10), range(5, 16), range(40, 44)])
@pytest.mark.parametrize("name", [name for name in PROBLEMS if PROBLEMS[name].chance])
def test_chance_is_the_accuracy_of_the_most_probable_answer(name, lengths):
    problem = PROBLEMS[name]
    batch = generate(name, np.tile(lengths, 20_000 // len(lengths)), seed=5)
    answers = batch.targets[batch.recalls]
    frequencies = np.bincount(answers, minlength=problem.classes) / len(answers)
    chance = problem.chance(lengths)
    # Answers of one sequence are drawn independently of each other.
    deviation = math.sqrt(chance * (1 - chance) / len(answers))
    assert abs(frequencies[0] - chance) < 4 * deviation
    assert frequencies.max() < chance + 4 * deviation


@pytest.mark.parametrize("name", [name for name in PROBLEMS if PROBLEMS[name].chance])
def test_chance_of_several_lengths_is_their_mean(name):
    chances = [PROBLEMS[name].chance(range(length, length + 1)) for length in range(5, 30)]
    assert PROBLEMS[name].chance(range(5, 30)) == pytest.approx(np.mean(chances), rel=1e-12)
