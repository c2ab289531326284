"""Unigrams and Kneser-Ney bigrams, against sums over all counts in float64."""

import math
import time
from collections import Counter

import numpy as np
import pytest

from rnnjax.tasks.language_modeling.ngrams import KneserNeyBigrams, Unigrams, estimate_discount

VOCABULARY = 12
RNG = np.random.default_rng(0)
# Of few tokens some are common and some occur once; 0 and 11 do not occur.
TOKENS = np.minimum(RNG.geometric(0.3, 120), 10).astype(np.int32)
INPUTS, TARGETS = TOKENS[:-1], TOKENS[1:]


def brute_force(previous, token):
    """Returns the probability of a token after another, by the formula and sums over all pairs."""
    pairs = Counter(zip(INPUTS.tolist(), TARGETS.tolist(), strict=True))

    def discount(counts):
        ones, twos = (sum(count == number for count in counts) for number in (1, 2))
        return ones / (ones + 2 * twos) if ones else 0.5

    def preceding(word):
        return sum(pairs[v, word] > 0 for v in range(VOCABULARY))

    words = range(VOCABULARY)
    types = [preceding(w) for w in words]
    lower_discount = discount(types)
    lower = max(types[token] - lower_discount, 0) / sum(types)
    lower += lower_discount * sum(n > 0 for n in types) / sum(types) / VOCABULARY
    total = sum(pairs[previous, w] for w in words)
    if not total:
        return lower
    higher_discount = discount(pairs.values())
    followers = sum(pairs[previous, w] > 0 for w in words)
    higher = max(pairs[previous, token] - higher_discount, 0) / total
    return higher + higher_discount * followers / total * lower


def test_bigrams_equal_a_sum_over_all_pairs():
    model = KneserNeyBigrams.fit(INPUTS, TARGETS, VOCABULARY)
    expected = np.array([[brute_force(v, w) for w in range(VOCABULARY)] for v in range(VOCABULARY)])
    grid = np.indices((VOCABULARY, VOCABULARY), np.int32).reshape(2, -1)
    actual = model.probabilities(*grid).reshape(VOCABULARY, VOCABULARY)
    np.testing.assert_allclose(actual, expected, rtol=1e-12)
    test_inputs, test_targets = np.array([1, 3, 11, 0], np.int32), np.array([2, 11, 4, 0], np.int32)
    loss = -np.mean(
        [math.log(expected[v, w]) for v, w in zip(test_inputs, test_targets, strict=True)]
    )
    assert model.loss(test_inputs, test_targets) == pytest.approx(loss, rel=1e-12)


@pytest.mark.parametrize(
    "tokens", [TOKENS, np.array([1, 1, 1, 1], np.int32), np.array([1, 2, 3, 4], np.int32)]
)
def test_distributions_sum_to_one(tokens):
    unigrams = Unigrams.fit(tokens[1:], VOCABULARY)
    assert unigrams.probabilities.sum() == pytest.approx(1, abs=1e-12)
    assert unigrams.probabilities.min() > 0
    model = KneserNeyBigrams.fit(tokens[:-1], tokens[1:], VOCABULARY)
    grid = np.indices((VOCABULARY, VOCABULARY), np.int32).reshape(2, -1)
    rows = model.probabilities(*grid).reshape(VOCABULARY, VOCABULARY)
    np.testing.assert_allclose(rows.sum(axis=1), 1, rtol=1e-12)
    assert rows.min() > 0


def test_unigrams_are_discounted_frequencies():
    counts = np.array([0, 1, 1, 2, 4])
    assert estimate_discount(counts) == 2 / (2 + 2 * 1)
    expected = np.array([0, 0.5, 0.5, 1.5, 3.5]) / 8 + 0.5 * 4 / 8 / 5
    np.testing.assert_allclose(Unigrams.from_counts(counts).probabilities, expected, rtol=1e-12)


def test_discount_without_single_counts():
    assert estimate_discount([2, 3, 3]) == 0.5
    assert estimate_discount([1, 3]) == 1


def test_frequent_pairs_are_probable():
    """A token that follows one other alone has little weight after a new one."""
    san, francisco, glass, the = 1, 2, 3, 4
    text = [san, francisco, the, glass] * 20 + [san, glass, san, the, glass, san, the]
    tokens = np.array(text, np.int32)
    model = KneserNeyBigrams.fit(tokens[:-1], tokens[1:], 6)
    after_new = model.probabilities(
        np.array([5, 5], np.int32), np.array([francisco, glass], np.int32)
    )
    assert after_new[0] < after_new[1]
    assert model.probabilities(np.array([san], np.int32), np.array([francisco], np.int32))[0] > 0.7


def test_large_corpora_take_seconds():
    tokens = np.minimum(RNG.zipf(1.3, 600_000), 9_999).astype(np.int32)
    start = time.process_time()
    KneserNeyBigrams.fit(tokens[:-1], tokens[1:], 10_000).loss(tokens[:-1], tokens[1:])
    assert time.process_time() - start < 5
