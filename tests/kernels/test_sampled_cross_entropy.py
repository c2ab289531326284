"""Sampled softmax: the full one where each token is sampled once, and an unbiased sum otherwise."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.config import parse
from rnnjax.data.streams import StreamBatch
from rnnjax.kernels import chunked_cross_entropy, sample_tokens, sampled_cross_entropy
from rnnjax.tasks.language_modeling.task import LanguageModelingTask

VOCABULARY, FEATURES = 13, 4
RNG = np.random.default_rng(0)
VECTORS: Any = RNG.standard_normal((2, 5, FEATURES)).astype(np.float32)
KERNEL: Any = RNG.standard_normal((FEATURES, VOCABULARY)).astype(np.float32)
BIAS: Any = RNG.standard_normal(VOCABULARY).astype(np.float32)
TARGETS: Any = RNG.integers(0, VOCABULARY, (2, 5)).astype(np.int32)
WEIGHTS: Any = RNG.uniform(0.5, 1, (2, 5)).astype(np.float32)
MASK: Any = np.arange(5) < np.array([[5], [3]])


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("soft_cap", [0.0, 2.0])
def test_whole_vocabulary_as_sample_is_the_full_softmax(axis, soft_cap):
    kernel = KERNEL if axis == 0 else KERNEL.T
    sample = jnp.arange(VOCABULARY), jnp.zeros(VOCABULARY)
    options: Any = {"axis": axis, "soft_cap": soft_cap}

    def sampled(vectors, kernel, bias):
        result = sampled_cross_entropy(
            vectors, kernel, bias, TARGETS, WEIGHTS, MASK, *sample, **options
        )
        return result.loss, result

    def full(vectors, kernel, bias):
        result = chunked_cross_entropy(vectors, kernel, bias, TARGETS, WEIGHTS, MASK, **options)
        return result.loss, result

    vectors = np.where(MASK[..., None], VECTORS, np.nan).astype(np.float32)
    results = [
        jax.jit(jax.value_and_grad(function, (0, 1, 2), has_aux=True))(vectors, kernel, BIAS)
        for function in (sampled, full)
    ]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-6), *results)


def test_draws_follow_the_ranks():
    tokens, log_counts = jax.jit(sample_tokens, static_argnums=(1, 2))(
        jax.random.key(0), VOCABULARY, 200_000
    )
    counts = np.bincount(tokens, minlength=VOCABULARY)
    assert len(counts) == VOCABULARY
    expected = np.zeros(VOCABULARY)
    expected[np.asarray(tokens)] = np.exp(log_counts)
    np.testing.assert_allclose(expected.sum(), 200_000, rtol=1e-4)
    assert (np.abs(counts - expected) < 4.5 * np.sqrt(expected)).all()
    ranks = np.arange(VOCABULARY)
    shares = np.log((ranks + 2) / (ranks + 1)) / np.log(VOCABULARY + 1)
    np.testing.assert_allclose(expected / 200_000, shares, rtol=1e-4)


def test_sum_over_samples_estimates_that_over_the_vocabulary():
    sample = sample_tokens(jax.random.key(1), VOCABULARY, 100_000)
    ones: Any = np.ones_like(WEIGHTS)
    result = sampled_cross_entropy(VECTORS, KERNEL, BIAS, TARGETS, ones, None, *sample)
    full = chunked_cross_entropy(VECTORS, KERNEL, BIAS, TARGETS)
    np.testing.assert_allclose(result.token_losses, full.token_losses, atol=0.03)


def test_language_model_samples_in_training_alone():
    model: Any = {"features": 8, "embedding": {"features": 8, "tied": True}}

    def make_task(**output) -> Any:
        config = parse({"task": "language_modeling", "model": {**model, "output": output}})
        return LanguageModelingTask.from_config(config, VOCABULARY, {"connected": True})

    mask: Any = np.ones((2, 5), bool)
    batch = StreamBatch(TARGETS, TARGETS, mask, mask.astype(np.float32), np.ones(2, bool))
    task, full = make_task(samples=3), make_task()
    params = task.init(jax.random.key(0))
    carry = task.initial_carry(2)

    def losses(task):
        return [float(task.loss(params, batch, carry, jax.random.key(key))[0]) for key in (0, 1)]

    assert len(set(losses(task))) == 2
    assert len(set(losses(full))) == 1
    evaluated = [t.evaluate_batch(params, batch, carry)[0]["loss"] for t in (task, full)]
    assert evaluated[0] == evaluated[1]
    capped = make_task(soft_cap=0.01)
    logits = capped.model.apply({"params": params}, TARGETS, mask)[1]
    assert 0 < np.abs(logits).max() <= 0.01
