"""Adaptive softmax against loops in NumPy, autodiff of all log-probabilities, and PyTorch."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.kernels import (
    AdaptiveSoftmax,
    adaptive_cross_entropy,
    adaptive_evaluation,
    adaptive_log_probabilities,
)

BATCH, TIME, FEATURES, VOCABULARY, CUTOFFS = 8, 25, 16, 23, (5, 12)
DIMS, SIZES = (4, 1), (7, 11)


def make_arguments(dtype: Any = np.float32) -> Any:
    """Returns vectors, softmax, targets, weights and mask; of one cluster over 64 are targets."""
    random = np.random.default_rng(0)

    def normal(*shape):
        return jnp.asarray(random.standard_normal(shape), jnp.float32)

    softmax = AdaptiveSoftmax(
        normal(FEATURES, CUTOFFS[0] + 2) / 2,
        tuple(normal(FEATURES, dim) for dim in DIMS),
        tuple(normal(dim, size) for dim, size in zip(DIMS, SIZES, strict=True)),
    )
    vectors = normal(BATCH, TIME, FEATURES).astype(dtype)
    best = jnp.argmax(adaptive_log_probabilities(vectors, softmax), axis=-1).astype(jnp.int32)
    targets = jnp.asarray(random.integers(0, VOCABULARY, (BATCH, TIME)).astype(np.int32))
    targets = jnp.where(random.random((BATCH, TIME)) < 0.4, best, targets)
    weights = jnp.asarray(random.uniform(0.5, 1.5, (BATCH, TIME)).astype(np.float32))
    mask = jnp.asarray(np.arange(TIME) < random.integers(TIME // 2, TIME + 1, (BATCH, 1)))
    return vectors, softmax, targets, weights, mask


def equations(vectors: np.ndarray, softmax: Any) -> np.ndarray:
    """Returns the probabilities [rows, vocabulary] by loops over rows and words, in float64."""
    head, projections, kernels = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), softmax)

    def probabilities(logits):
        return np.exp(logits) / sum(np.exp(logit) for logit in logits)

    result = np.zeros((len(vectors), VOCABULARY))
    for row, h in enumerate(np.asarray(vectors, np.float64)):
        of_head = probabilities(h @ head)
        for word in range(VOCABULARY):
            if word < CUTOFFS[0]:
                result[row, word] = of_head[word]
                continue
            cluster = int(word >= CUTOFFS[1])
            inside = probabilities(h @ projections[cluster] @ kernels[cluster])
            share = of_head[CUTOFFS[0] + cluster]
            result[row, word] = share * inside[word - CUTOFFS[cluster]]
    return result


def gathered(vectors, softmax, targets, weights, mask):
    """Returns the loss from the log-probabilities of all words."""
    vectors = jnp.where(mask[..., None], vectors, jnp.zeros_like(vectors))
    log_probabilities = adaptive_log_probabilities(vectors, softmax)
    losses = -jnp.take_along_axis(log_probabilities, targets[..., None], axis=-1)[..., 0]
    return jnp.sum(losses * jnp.where(mask, weights, 0))


def value_and_gradients(function, vectors, softmax, targets, weights, mask):
    """Returns the value and the gradients of vectors, softmax and weights; the cotangent is 3."""

    def loss(vectors, softmax, weights):
        result = function(vectors, softmax, targets, weights, mask)
        return 3 * getattr(result, "loss", result)

    return jax.jit(jax.value_and_grad(loss, (0, 1, 2)))(vectors, softmax, weights)


def assert_close(actual, expected, **tolerance):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **tolerance), actual, expected)


def test_probabilities_are_those_of_the_equations():
    vectors, softmax, *_ = make_arguments()
    assert softmax.cutoffs == CUTOFFS
    log_probabilities = jax.jit(adaptive_log_probabilities)(vectors, softmax)
    expected = equations(vectors.reshape(-1, FEATURES), softmax)
    np.testing.assert_allclose(expected.sum(axis=-1), 1, rtol=1e-12)
    assert log_probabilities.shape == (BATCH, TIME, VOCABULARY)
    np.testing.assert_allclose(
        log_probabilities.reshape(-1, VOCABULARY), np.log(expected), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("function", [adaptive_cross_entropy, adaptive_evaluation])
def test_losses_and_hits_are_those_of_the_equations(function):
    vectors, softmax, targets, weights, mask = make_arguments()
    result = jax.jit(function)(vectors, softmax, targets, weights, mask)
    probabilities = equations(vectors.reshape(-1, FEATURES), softmax)
    rows = np.arange(len(probabilities)), np.asarray(targets).reshape(-1)
    losses = np.where(mask, -np.log(probabilities[rows]).reshape(BATCH, TIME), 0)
    np.testing.assert_allclose(result.token_losses, losses, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(result.loss, np.sum(losses * weights), rtol=1e-5)
    exact = probabilities.argmax(axis=-1).reshape(BATCH, TIME)
    entry = np.argmax(vectors @ softmax.head, axis=-1)  # of the head, then of its cluster
    ends = [0, *CUTOFFS, VOCABULARY]
    choices = entry.copy()
    for cluster in (1, 2):
        inside = probabilities[:, ends[cluster] : ends[cluster + 1]].argmax(axis=-1)
        best = ends[cluster] + inside.reshape(BATCH, TIME)
        choices = np.where(entry == CUTOFFS[0] + cluster - 1, best, choices)
    hits = (exact if function is adaptive_evaluation else choices) == targets
    np.testing.assert_array_equal(result.is_correct, hits & np.asarray(mask))
    assert 0 < hits.sum() < hits.size
    assert (exact != choices).any()


TARGETS = {
    "all clusters": lambda targets: targets,
    "one empty cluster": lambda targets: jnp.where(targets < CUTOFFS[1], targets, 0),
    "the head alone": lambda targets: targets % CUTOFFS[0],
    "the first cluster alone": lambda targets: CUTOFFS[0] + targets % SIZES[0],
    "the last cluster alone": lambda targets: CUTOFFS[1] + targets % SIZES[1],
}


@pytest.mark.parametrize("case", TARGETS)
def test_gradients_are_those_of_all_log_probabilities(case):
    vectors, softmax, targets, weights, mask = make_arguments()
    arguments = vectors, softmax, TARGETS[case](targets), weights, mask
    expected = value_and_gradients(gathered, *arguments)
    # Weights of masked positions reach nothing.
    assert not np.asarray(expected[1][2])[~np.asarray(mask)].any()
    assert_close(
        value_and_gradients(adaptive_cross_entropy, *arguments), expected, rtol=2e-5, atol=2e-5
    )
    assert_close(
        value_and_gradients(adaptive_evaluation, *arguments), expected, rtol=2e-5, atol=2e-5
    )


@pytest.mark.parametrize("function", [adaptive_cross_entropy, adaptive_evaluation])
def test_masked_positions_reach_nothing(function):
    vectors, softmax, targets, weights, mask = make_arguments()
    expected = value_and_gradients(function, vectors, softmax, targets, weights, mask)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(expected))
    for value in (np.nan, np.inf, 1e30):
        changed = jnp.where(mask[..., None], vectors, value)
        hidden = jnp.where(mask, targets, VOCABULARY - 1), jnp.where(mask, weights, value)
        actual = value_and_gradients(function, changed, softmax, *hidden, mask)
        jax.tree.map(np.testing.assert_array_equal, actual, expected)
    all_masked = jnp.zeros_like(mask)
    value, gradients = value_and_gradients(function, vectors, softmax, targets, weights, all_masked)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves((value, gradients)))


def test_bfloat16_products_are_summed_in_float32():
    vectors, *rest = make_arguments(jnp.bfloat16)
    value, gradients = value_and_gradients(adaptive_cross_entropy, vectors, *rest)
    dtypes = [leaf.dtype for leaf in jax.tree.leaves((value, gradients))]
    assert dtypes == [np.float32, jnp.bfloat16, *[np.float32] * 6]
    rounded, _ = value_and_gradients(gathered, vectors, *rest)
    np.testing.assert_allclose(value, rounded, rtol=1e-5)
    exact = value_and_gradients(gathered, vectors.astype(jnp.float32), *rest)
    for leaf, expected in zip(jax.tree.leaves(gradients), jax.tree.leaves(exact[1]), strict=True):
        error = np.linalg.norm(leaf.astype(np.float32) - expected)
        assert error < 0.02 * np.linalg.norm(expected)


def test_replicates_have_clusters_of_their_own_targets():
    vectors, softmax, targets, weights, mask = make_arguments()

    def gradients(function, scale, targets):
        scaled = jax.tree.map(lambda leaf: leaf * scale, softmax)
        return value_and_gradients(function, vectors, scaled, targets, weights, mask)

    # The last cluster has no targets, two chunks of them, or one.
    cases = "one empty cluster", "the last cluster alone", "all clusters"
    stacked = jnp.stack([TARGETS[case](targets) for case in cases])
    actual, expected = (
        jax.vmap(functools.partial(gradients, function))(jnp.array([1.0, 0.5, 2.0]), stacked)
        for function in (adaptive_cross_entropy, gathered)
    )
    assert_close(actual, expected, rtol=2e-5, atol=2e-5)


def test_memory_is_a_fraction_of_all_logits():
    tokens, vocabulary, features, cutoffs = 2_048, 50_000, 64, (2_000, 10_000)

    def array(*shape) -> Any:
        return jax.ShapeDtypeStruct(shape, jnp.float32)

    shapes = AdaptiveSoftmax(
        array(features, cutoffs[0] + 2),
        (array(features, 16), array(features, 4)),
        (array(16, 8_000), array(4, 40_000)),
    )
    vectors, weights = array(tokens, features), array(tokens)
    targets = jax.ShapeDtypeStruct((tokens,), jnp.int32)

    def loss(vectors, softmax, targets, weights):
        return adaptive_cross_entropy(vectors, softmax, targets, weights).loss

    for function in (jax.grad(loss, (0, 1)), adaptive_evaluation):
        lowered = jax.jit(function).lower(vectors, shapes, targets, weights)
        memory: Any = lowered.compile().memory_analysis()
        assert memory.temp_size_in_bytes < tokens * vocabulary * 4 / 4


def test_values_of_pytorch():
    torch = pytest.importorskip("torch")
    vectors, softmax, targets, weights, _ = make_arguments()
    module = torch.nn.AdaptiveLogSoftmaxWithLoss(FEATURES, VOCABULARY, CUTOFFS, div_value=4.0)
    tensors = [softmax.head]
    for projection, kernel in zip(softmax.projections, softmax.kernels, strict=True):
        tensors += [projection, kernel]
    tensors = [torch.tensor(np.asarray(tensor).T.copy()) for tensor in tensors]
    for parameter, tensor in zip(module.parameters(), tensors, strict=True):
        assert parameter.shape == tensor.shape
        parameter.data = tensor
    leaf = torch.tensor(np.asarray(vectors).reshape(-1, FEATURES), requires_grad=True)
    result = module(leaf, torch.tensor(np.asarray(targets).reshape(-1)).long())
    (result.loss * 3 * targets.size).backward()
    ones, mask = jnp.ones_like(weights), jnp.ones_like(weights, bool)
    arguments = vectors, softmax, targets, ones, mask
    token_losses = adaptive_cross_entropy(*arguments).token_losses
    tolerance: Any = {"rtol": 2e-5, "atol": 2e-5}
    np.testing.assert_allclose(token_losses.reshape(-1), -result.output.detach(), **tolerance)
    of_vectors, of_softmax, _ = value_and_gradients(adaptive_cross_entropy, *arguments)[1]
    np.testing.assert_allclose(of_vectors.reshape(-1, FEATURES), leaf.grad, **tolerance)
    gradients = [of_softmax.head]
    for projection, kernel in zip(of_softmax.projections, of_softmax.kernels, strict=True):
        gradients += [projection, kernel]
    for gradient, parameter in zip(gradients, module.parameters(), strict=True):
        np.testing.assert_allclose(gradient.T, parameter.grad, **tolerance)
