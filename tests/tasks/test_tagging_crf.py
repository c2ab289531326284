"""The linear-chain random field against all labellings, one by one."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.tasks.tagging import crf

LABELS, TIME = 3, 5
MASKS = jnp.array(
    [
        [True] * TIME,
        [True, True, False, False, False],
        [False, True, False, True, True],
        [False, False, False, False, True],
        [False] * TIME,
    ]
)


@pytest.fixture
def problem():
    generator = np.random.default_rng(0)
    emissions = jnp.asarray(generator.normal(size=(len(MASKS), TIME, LABELS)), jnp.float32)
    shapes = ((LABELS, LABELS), (LABELS,), (LABELS,))
    potentials = crf.Potentials(
        *(jnp.asarray(generator.normal(size=shape), jnp.float32) for shape in shapes)
    )
    return emissions, potentials


def log_sum(scores):
    return float(np.log(np.sum(np.exp(scores))))


def all_labellings(emissions, mask, potentials):
    """Returns each labelling of the unmasked steps and its score, in float64."""
    transitions, first, last = (np.asarray(array, np.float64) for array in potentials)
    steps = np.flatnonzero(mask)
    for labels in itertools.product(range(LABELS), repeat=len(steps)):
        score = sum(emissions[step, label] for step, label in zip(steps, labels, strict=True))
        score += sum(transitions[pair] for pair in itertools.pairwise(labels))
        if labels:
            score += first[labels[0]] + last[labels[-1]]
        yield labels, float(score)


def test_log_partition_is_the_sum_over_all_labellings(problem):
    emissions, potentials = problem
    values = crf.log_partition(emissions, MASKS, potentials)
    for row, mask in enumerate(MASKS):
        scores = [score for _, score in all_labellings(emissions[row], mask, potentials)]
        assert values[row] == pytest.approx(log_sum(scores), abs=1e-5)


def test_probabilities_of_all_labellings_sum_to_one(problem):
    emissions, potentials = problem
    for row, mask in enumerate(MASKS):
        rows = []
        for labels, _ in all_labellings(emissions[row], mask, potentials):
            padded = np.zeros(TIME, np.int32)
            padded[np.asarray(mask)] = labels
            rows.append(padded)
        repeated = jnp.broadcast_to(emissions[row], (len(rows), TIME, LABELS))
        masks = jnp.broadcast_to(mask, (len(rows), TIME))
        losses = crf.negative_log_likelihood(repeated, jnp.array(rows), masks, potentials)
        assert np.exp(-np.asarray(losses, np.float64)).sum() == pytest.approx(1, abs=1e-5)


def test_decoding_returns_the_best_labelling(problem):
    emissions, potentials = problem
    labels, scores = crf.decode(emissions, MASKS, potentials)
    for row, mask in enumerate(MASKS):
        labellings = all_labellings(emissions[row], mask, potentials)
        best, score = max(labellings, key=lambda item: item[1])
        assert tuple(np.asarray(labels[row])[np.asarray(mask)].tolist()) == best
        assert scores[row] == pytest.approx(score, abs=1e-5)


def test_marginals_are_sums_over_labellings(problem):
    emissions, potentials = problem
    values = np.asarray(crf.marginals(emissions, MASKS, potentials))
    for row, mask in enumerate(MASKS):
        labellings = list(all_labellings(emissions[row], mask, potentials))
        total = log_sum([score for _, score in labellings])
        expected = np.zeros((TIME, LABELS))
        for labels, score in labellings:
            for step, label in zip(np.flatnonzero(mask), labels, strict=True):
                expected[step, label] += np.exp(score - total)
        np.testing.assert_allclose(values[row], expected, atol=1e-5)


def test_masked_steps_may_hold_anything(problem):
    emissions, potentials = problem
    labels = jnp.zeros((len(MASKS), TIME), jnp.int32)
    spoiled = jnp.where(MASKS[..., None], emissions, np.nan)

    def loss(values, potentials):
        return jnp.sum(crf.negative_log_likelihood(values, labels, MASKS, potentials))

    gradients = jax.grad(loss, argnums=(0, 1))
    # The sum of emissions skips masked steps as well.
    assert loss(spoiled, potentials) == loss(emissions, potentials)
    for left, right in zip(
        jax.tree.leaves(gradients(spoiled, potentials)),
        jax.tree.leaves(gradients(emissions, potentials)),
        strict=True,
    ):
        np.testing.assert_array_equal(left, right)
