"""The problems of long memory: their definitions by hand, and their baselines by simulation."""

import math

import numpy as np
import pytest

from rnnjax.data.synthetic import uniform_rows
from rnnjax.data.synthetic_problems import BLANK, DELIMITER, PROBLEMS


def made(name, lengths, draws=None, seed=0):
    """Returns examples of some lengths; of given draws, or drawn."""
    problem, lengths = PROBLEMS[name], np.asarray(lengths)
    if draws is None:
        draws = uniform_rows(range(len(lengths)), problem.num_draws(int(lengths.max())), seed)
    return problem.generate(np.asarray(draws, float), lengths, int(lengths.max()))


def symbols(asked):
    """Returns the inputs of copying as numbers, without what is masked."""
    rows = zip(asked.inputs.argmax(-1), asked.mask, strict=True)
    return [row[there].tolist() for row, there in rows]


def test_adding_by_hand():
    # Values, then the places of the marks in their halves: of six steps 0 to 2 and 3 to 5.
    draws = [[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.99, 0.0], [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.0, 0.99]]
    asked = made("adding", [6, 5], draws)
    np.testing.assert_allclose(asked.inputs[0, :, 0], draws[0][:6], rtol=1e-6)
    assert asked.inputs[:, :, 1].tolist() == [[0, 0, 1, 1, 0, 0], [1, 0, 0, 0, 1, 0]]
    assert asked.mask.tolist() == [[True] * 6, [True] * 5 + [False]]
    assert asked.inputs[1, 5].tolist() == [0, 0]
    np.testing.assert_allclose(asked.targets, [[0] * 5 + [0.7], [0] * 4 + [1.4, 0]], rtol=1e-6)
    assert asked.weights.tolist() == [[0] * 5 + [1], [0] * 4 + [1, 0]]
    assert (asked.recalls == (asked.weights > 0)).all()


def test_parity_by_hand():
    draws = [[0.1, 0.9, 0.2, 0.3], [0.7, 0.3, 0.3, 0.1]]
    asked = made("parity", [4, 3], draws)
    assert asked.inputs[..., 1].tolist() == [[1, 0, 1, 1], [0, 1, 1, 0]]
    assert asked.inputs[..., 0].tolist() == [[0, 1, 0, 0], [1, 0, 0, 0]]
    assert asked.targets.tolist() == [[0, 0, 0, 1], [0, 0, 0, 0]]
    assert asked.weights.tolist() == [[0, 0, 0, 1], [0, 0, 1, 0]]


def test_copying_by_hand():
    told = [0, 1, 2, 3, 4, 5, 6, 7, 7, 0]
    draws = (np.array([told, told[::-1]]) + 0.5) / 8
    asked = made("copy", [4, 2], draws)
    first, second = symbols(asked)
    assert first == [*told, *[BLANK] * 3, DELIMITER, *[BLANK] * 10]
    assert len(first) == 4 + 20
    assert second == [*told[::-1], BLANK, DELIMITER, *[BLANK] * 10]
    assert asked.targets[0].tolist() == [BLANK] * 14 + told
    assert asked.targets[1].tolist() == [BLANK] * 12 + told[::-1] + [0, 0]
    assert asked.weights.sum(1).tolist() == [24, 22]
    assert [row.nonzero()[0].tolist() for row in asked.recalls] == [
        list(range(14, 24)),
        list(range(12, 22)),
    ]


def test_selective_copying_by_hand():
    told = [0, 1, 2, 3, 4, 5, 6, 7, 7, 0]
    places = [0, 2, 3, 4, 5, 6, 7, 8, 9, 11]
    keys = np.where(np.isin(np.arange(12), places), 0.3, 0.8)
    asked = made("selective_copy", [3], [[*((np.array(told) + 0.5) / 8), *keys]])
    assert symbols(asked) == [
        [0, BLANK, *told[1:9], BLANK, told[9], DELIMITER, *[BLANK] * 10],
    ]
    assert asked.targets[0].tolist() == [BLANK] * 13 + told


def test_the_symbols_of_selective_copying_stand_anywhere_before_the_delimiter():
    lengths = np.tile([1, 30, 60], 400)
    asked = made("selective_copy", lengths)
    given = asked.inputs.argmax(-1)
    for row, length, targets in zip(given, lengths, asked.targets, strict=True):
        end = length + 9
        assert row[end] == DELIMITER
        told = row[:end][row[:end] < BLANK]
        assert told.tolist() == targets[end + 1 : end + 11].tolist()
        assert (row[end + 1 : end + 11] == BLANK).all()
    held = (given[lengths == 60] < BLANK) & asked.mask[lengths == 60]
    share = held[:, :69].mean(0)
    assert abs(share - 10 / 69).max() < 0.07  # of 400 rows, four standard deviations
    assert not held[:, 69:].any()


@pytest.mark.parametrize("name", PROBLEMS)
def test_an_example_does_not_depend_on_those_beside_it(name):
    problem = PROBLEMS[name]
    draws = uniform_rows(range(6), problem.num_draws(12), 3)
    lengths = np.array([12, 7, 9, 12, 3, 5])
    whole = problem.generate(draws, lengths, 12)
    part = problem.generate(draws[2:4], lengths[2:4], 12)
    for one, other in zip(whole, part, strict=True):
        np.testing.assert_array_equal(one[2:4], other)
        assert one.dtype == other.dtype
    for leaf in (whole.inputs, whole.targets, whole.weights, whole.recalls):
        assert not leaf[~whole.mask].any()


def test_the_baselines_are_those_of_the_papers():
    of = {name: PROBLEMS[name].baseline for name in PROBLEMS}
    assert of["adding"](100) == 1 / 6
    assert of["parity"](32) == math.log(2)
    for name in ("copy", "selective_copy"):
        assert of[name](50) == 10 * math.log(8) / (50 + 20)


def without_memory(name, asked):
    """Returns the mean loss of the best answer that remembers nothing, by what the step holds."""
    weights = asked.weights
    if name == "adding":
        losses = (1.0 - asked.targets) ** 2
    elif name == "parity":
        losses = np.full(weights.shape, math.log(2))
    else:
        # It may count the steps and hear the delimiter, and guesses where symbols are asked for.
        guess = np.append(np.full(8, 1 / 8), 0)
        share = np.where(asked.recalls[..., None], guess, np.eye(9)[BLANK])
        given = np.take_along_axis(share, asked.targets[..., None], -1)[..., 0]
        losses = -np.log(given, where=weights > 0, out=np.zeros_like(given))
    return (losses * weights).sum() / weights.sum()


@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("length", [2, 33])
def test_the_best_answer_without_memory_has_the_baseline(name, length):
    asked = made(name, np.full(20_000, length), seed=length)
    assert without_memory(name, asked) == pytest.approx(
        PROBLEMS[name].baseline(length), rel=0.03 if name == "adding" else 1e-6
    )


def test_no_constant_is_better_than_one_at_adding():
    targets = made("adding", np.full(20_000, 9)).targets[:, -1]
    losses = {answer: np.mean((targets - answer) ** 2) for answer in (0.9, 0.95, 1.0, 1.05, 1.1)}
    assert min(losses, key=losses.__getitem__) == 1.0


def test_symbols_and_parities_are_even():
    told = made("copy", np.full(5_000, 2)).targets[:, -10:]
    np.testing.assert_allclose(np.bincount(told.ravel()) / told.size, 1 / 8, atol=0.006)
    odd = made("parity", np.full(20_000, 5)).targets[:, -1]
    assert abs(odd.mean() - 0.5) < 0.015


@pytest.mark.parametrize("name", ["copy", "selective_copy"])
def test_of_unlike_lengths_the_baseline_is_that_of_their_mean(name):
    lengths = np.tile(np.arange(5, 26), 100)
    assert without_memory(name, made(name, lengths)) == pytest.approx(
        PROBLEMS[name].baseline(15), rel=1e-6
    )
