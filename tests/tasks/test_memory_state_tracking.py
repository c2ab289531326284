"""Problems of state tracking: answers against Python's own arithmetic, chances by enumeration."""

import itertools
import math
from typing import Any

import numpy as np
import pytest

from rnnjax.config import parse
from rnnjax.errors import InputError
from rnnjax.tasks.memory import data as synthetic
from rnnjax.tasks.memory import problems
from rnnjax.tasks.memory.config import MemoryConfig
from rnnjax.tasks.memory.data import uniform_rows
from rnnjax.tasks.memory.state_tracking import (
    CLOSING,
    KEYS,
    MINUS,
    MODULUS,
    OPENING,
    PAIRS,
    PLUS,
    STATE_TRACKING,
    TIMES,
    VALUES,
    arithmetic_zeros,
    bracket_zeros,
)

PROBLEMS: dict[str, Any] = {**problems.PROBLEMS}
SIGNS = {PLUS: "+", MINUS: "-", TIMES: "*", OPENING: "(", CLOSING: ")"}


def generate(name, lengths, seed=0):
    """Generates examples of these lengths."""
    problem, lengths = PROBLEMS[name], np.asarray(lengths)
    draws = uniform_rows(range(len(lengths)), problem.num_draws(int(lengths.max())), seed)
    return problem.generate(draws, lengths, int(lengths.max()))


def tokens_of(batch) -> list[list[int]]:
    rows = zip(batch.inputs.argmax(-1), batch.mask, strict=True)
    return [row[mask].tolist() for row, mask in rows]


@pytest.mark.parametrize(
    ("name", "length_of"),
    [
        ("modular_arithmetic", lambda length: length - (length + 1) % 2),
        ("bracket_arithmetic", lambda length: length - (length - 1) % 4),
    ],
)
def test_results_are_those_of_python(name, length_of):
    lengths = np.arange(5, 45)
    batch = generate(name, lengths)
    assert (batch.weights.sum(axis=1) == 1).all()
    seen = set()
    for row, tokens in enumerate(tokens_of(batch)):
        assert len(tokens) == length_of(lengths[row])
        expression = "".join(SIGNS.get(token, str(token)) for token in tokens)
        last = len(tokens) - 1
        assert batch.targets[row, last] == eval(expression) % MODULUS, expression
        assert batch.recalls[row].nonzero()[0].tolist() == [last]
        seen |= set(expression)
    assert seen == set("01234+-*" if name == "modular_arithmetic" else "01234+-*()")


def test_zeros_of_arithmetic_are_those_of_all_expressions():
    for numbers in (1, 2, 3):
        results = [
            eval("".join(itertools.chain(*itertools.zip_longest(digits, signs, fillvalue="")))) % 5
            for digits in itertools.product("01234", repeat=numbers)
            for signs in itertools.product("+-*", repeat=numbers - 1)
        ]
        counts = np.bincount(results) / len(results)
        np.testing.assert_allclose(arithmetic_zeros(3)[numbers - 1], counts[0], rtol=1e-12)
        np.testing.assert_allclose(counts[1:], counts[1])
    np.testing.assert_allclose(arithmetic_zeros(100)[-1], 1 / 5, atol=1e-9)


def test_zeros_of_bracketed_expressions():
    # One operation: of 25 sums 5 are 0, of 25 products 9.
    assert bracket_zeros(1)[-1] == pytest.approx((2 * 5 + 9) / 75)
    batch = generate("bracket_arithmetic", np.full(20_000, 41), seed=3)
    share = (batch.targets.sum(axis=1) == 0).mean()
    assert abs(share - bracket_zeros(10)[-1]) < 0.013  # four standard deviations
    assert PROBLEMS["bracket_arithmetic"].chance(range(41, 42)) == bracket_zeros(10)[-1]
    assert len(bracket_zeros(2_000)) == 2_001


@pytest.mark.parametrize("size", [3, 5])
def test_products_of_permutations(size):
    elements = np.array(list(itertools.permutations(range(size))))
    batch = generate(f"permutations_{size}", [9, 4, 7])
    for row, tokens in enumerate(tokens_of(batch)):
        product = np.arange(size)
        for step, token in enumerate(tokens):
            product = elements[token][product]
            np.testing.assert_array_equal(elements[batch.targets[row, step]], product)
        assert batch.recalls[row].nonzero()[0].tolist() == [len(tokens) - 1]
    assert (batch.weights == batch.mask).all()


def test_recall_asks_for_the_value_of_each_key():
    batch = generate("associative_recall", [5, 1, 3])
    for row, length in enumerate((5, 1, 3)):
        tokens = tokens_of(batch)[row]
        assert len(tokens) == length + 3 * PAIRS
        pairs = dict(zip(tokens[: 2 * PAIRS : 2], tokens[1 : 2 * PAIRS : 2], strict=True))
        assert len(pairs) == PAIRS
        assert max(pairs) < KEYS
        assert tokens[2 * PAIRS : 2 * PAIRS + length] == [KEYS + VALUES] * length
        questions = tokens[2 * PAIRS + length :]
        assert sorted(questions) == sorted(pairs)
        answers = batch.targets[row, 2 * PAIRS + length : len(tokens)] + KEYS
        assert answers.tolist() == [pairs[question] for question in questions]
        assert batch.recalls[row].sum() == batch.weights[row].sum() == PAIRS


@pytest.mark.parametrize("name", STATE_TRACKING)
def test_best_answer_without_memory(name):
    problem, lengths = PROBLEMS[name], range(9, 10)
    chance = problem.chance(lengths)
    batch = generate(name, np.full(4_000, 9), seed=1)
    answers = batch.targets[batch.recalls]
    frequencies = np.bincount(answers, minlength=problem.classes) / len(answers)
    assert abs(frequencies[0] - chance) < 4 * math.sqrt(0.25 / len(answers))
    # Cross-entropy of the distribution: 0 with the chance, or all evenly.
    others = (1 - chance) / (problem.classes - 1)
    probabilities = np.full(problem.classes, others)
    probabilities[0] = chance
    expected = -np.log(probabilities) @ probabilities
    steps = 9 if "permutations" in name else 1
    known = 1 if "permutations" in name else 0
    assert problem.baseline(lengths) == pytest.approx(expected * (steps - known) / steps)


def test_test_sequences_have_lengths_of_a_range():
    def make(**memory):
        config = parse({"task": "memory", "memory": {"problem": "permutations_3", **memory}})
        options = config.section(MemoryConfig)
        return synthetic.make_dataset(config, synthetic.load_problem(options)).test

    lengths = {"length": 5, "test_length": 12, "test_min_length": 8, "test_examples": 300}
    split = make(**lengths)
    seen = {
        int(mask.sum())
        for step in range(split.steps_per_epoch)
        for mask in split.batch_at(0, step).mask
        if mask.any()
    }
    assert seen == set(range(8, 13))
    assert split.lengths == range(8, 13)
    with pytest.raises(InputError, match=r"memory\.test_min_length is 13"):
        make(length=5, test_length=12, test_min_length=13)
