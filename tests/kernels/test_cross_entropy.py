"""Cross-entropy in chunks against all logits at once, and accuracy with ties, NaN and infinity."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rnnjax.kernels import chunked_cross_entropy, is_most_probable

BATCH, TIME, FEATURES, VOCABULARY = 3, 7, 5, 11


def plain(vectors, kernel, bias, targets, weights, mask, *, axis, label_smoothing, soft_cap):
    """Returns loss, token losses and hits from the logits of all tokens, by optax."""
    vectors = jnp.where(mask[..., None], vectors, jnp.zeros_like(vectors))
    kernel = kernel.astype(vectors.dtype) if axis == 0 else kernel.T.astype(vectors.dtype)
    logits = jnp.einsum("btf,fv->btv", vectors, kernel, preferred_element_type=jnp.float32)
    logits = logits if bias is None else logits + bias[None, None]
    if soft_cap:
        logits = soft_cap * jnp.tanh(logits / soft_cap)
    labels = optax.smooth_labels(jax.nn.one_hot(targets, VOCABULARY), label_smoothing)
    smoothed = optax.softmax_cross_entropy(logits, labels)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, targets)
    hits = jnp.argmax(logits, axis=-1) == targets
    return jnp.sum(smoothed * jnp.where(mask, weights, 0)), jnp.where(mask, losses, 0), hits & mask


def arguments(axis=0, with_bias=True, dtype=jnp.float32):
    """Returns vectors, kernel and bias, targets, weights and mask."""
    keys = jax.random.split(jax.random.key(3), 4)
    shape = (FEATURES, VOCABULARY) if axis == 0 else (VOCABULARY, FEATURES)
    vectors = jax.random.normal(keys[0], (BATCH, TIME, FEATURES), dtype)
    kernel, bias = jax.random.normal(keys[1], shape), jax.random.normal(keys[2], (VOCABULARY,))
    targets = jnp.argmax(vectors @ (kernel if axis == 0 else kernel.T).astype(dtype), axis=-1)
    targets = targets.at[:, ::2].set(jax.random.randint(keys[3], targets[:, ::2].shape, 0, 11))
    weights = jnp.linspace(0.0, 2.0, BATCH * TIME).reshape(BATCH, TIME)
    mask = jnp.ones((BATCH, TIME), bool).at[1, 4:].set(False).at[0, 2].set(False)
    return (vectors, kernel, bias if with_bias else None, weights), targets, mask


def results(function, differentiable, targets, mask, **options):
    """Returns the outputs of a function, and the gradients of vectors, kernel, bias, weights."""

    def loss(vectors, kernel, bias, weights):
        outputs = function(vectors, kernel, bias, targets, weights, mask, **options)
        return jnp.tanh(outputs[0] / 10) * 3, outputs  # a cotangent other than one

    argnums = tuple(n for n, leaf in enumerate(differentiable) if leaf is not None)
    (_, outputs), gradients = jax.jit(jax.value_and_grad(loss, argnums, has_aux=True))(
        *differentiable
    )
    return tuple(outputs), gradients


@pytest.mark.parametrize("chunk_rows", [0, 1, 4, 7, 20, 21, 40])
@pytest.mark.parametrize("axis", [0, 1])
def test_any_chunk_length_equals_plain_form(chunk_rows, axis):
    values = arguments(axis)
    options = {"axis": axis, "label_smoothing": 0.0, "soft_cap": 0.0}
    assert_equal(
        results(chunked_cross_entropy, *values, chunk_rows=chunk_rows, **options),
        results(plain, *values, **options),
    )


@pytest.mark.parametrize(
    ("axis", "with_bias", "label_smoothing", "soft_cap"),
    list(itertools.product([0, 1], [True, False], [0.0, 0.1], [0.0, 3.0])),
)
def test_every_option_equals_plain_form(axis, with_bias, label_smoothing, soft_cap):
    values = arguments(axis, with_bias)
    options = {"axis": axis, "label_smoothing": label_smoothing, "soft_cap": soft_cap}
    expected = results(plain, *values, **options)
    assert_equal(results(chunked_cross_entropy, *values, chunk_rows=8, **options), expected)
    assert 0 < np.sum(expected[0][2]) < np.sum(values[2])


@pytest.mark.parametrize(("label_smoothing", "soft_cap"), [(0.0, 0.0), (0.1, 3.0)])
def test_bfloat16_products_are_summed_in_float32(label_smoothing, soft_cap):
    values = arguments(dtype=jnp.bfloat16)
    options = {"axis": 0, "label_smoothing": label_smoothing, "soft_cap": soft_cap}
    result = results(chunked_cross_entropy, *values, chunk_rows=8, **options)
    (vectors, *rest), targets, mask = values
    exact = results(plain, (vectors.astype(jnp.float32), *rest), targets, mask, **options)
    rounded = results(plain, *values, **options)
    np.testing.assert_array_equal(result[0][2], rounded[0][2])
    for outputs, reference in ((result[0][:2], rounded[0][:2]), (result[1], exact[1])):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(
                a.astype(jnp.float32), b.astype(jnp.float32), rtol=0.02, atol=0.01
            ),
            outputs,
            reference,
        )
    np.testing.assert_allclose(result[0][1], rounded[0][1], rtol=1e-5, atol=1e-5)
    dtypes = [leaf.dtype for leaf in result[1]]
    assert dtypes == [jnp.bfloat16, jnp.float32, jnp.float32, jnp.float32]


def test_masked_vectors_reach_nothing():
    (vectors, *rest), targets, mask = arguments()
    options = {"axis": 0, "chunk_rows": 5}
    expected = results(chunked_cross_entropy, (vectors, *rest), targets, mask, **options)
    for value in (jnp.nan, jnp.inf, 1e30):
        changed = jnp.where(mask[..., None], vectors, value)
        result = results(chunked_cross_entropy, (changed, *rest), targets, mask, **options)
        jax.tree.map(np.testing.assert_array_equal, result, expected)


def test_large_logits_are_finite():
    vectors, kernel = jnp.full((4, FEATURES), 1e4), jnp.eye(FEATURES, VOCABULARY)
    kernel = kernel.at[0, 0].set(-1e4)

    def loss(vectors, kernel):
        return chunked_cross_entropy(vectors, kernel, None, jnp.arange(4), chunk_rows=3)[0]

    value, gradients = jax.value_and_grad(loss, (0, 1))(vectors, kernel)
    assert np.isfinite(value)
    assert value > 1e7
    assert all(np.isfinite(leaf).all() for leaf in gradients)


def test_replicates_equal_single_calls():
    (vectors, kernel, bias, weights), targets, _ = arguments()
    kernels = jnp.stack([kernel, 2 * kernel])

    def gradients(kernel):
        def loss(vectors, kernel):
            return chunked_cross_entropy(vectors, kernel, bias, targets, weights, chunk_rows=4)[0]

        return jax.grad(loss, (0, 1))(vectors, kernel)

    single = jax.tree.map(lambda *leaves: jnp.stack(leaves), *map(gradients, kernels))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
        jax.vmap(gradients)(kernels),
        single,
    )


@pytest.mark.parametrize("axis", [0, 1])
def test_memory_is_a_quarter_of_all_logits(axis):
    tokens, vocabulary, features = 2_048, 50_000, 200
    shape = (features, vocabulary) if axis == 0 else (vocabulary, features)
    arrays = [
        jax.ShapeDtypeStruct(shape, jnp.float32)
        for shape in ((tokens, features), shape, (vocabulary,))
    ]
    targets = jax.ShapeDtypeStruct((tokens,), jnp.int32)

    def chunked(vectors, kernel, bias, targets):
        return chunked_cross_entropy(vectors, kernel, bias, targets, axis=axis).loss

    def unchunked(vectors, kernel, bias, targets):
        logits = vectors @ (kernel if axis == 0 else kernel.T) + bias[None]
        return jnp.sum(optax.softmax_cross_entropy_with_integer_labels(logits, targets))

    sizes = {}
    for function in (chunked, unchunked):
        step = jax.jit(jax.grad(function, (0, 1, 2)))
        memory: Any = step.lower(*arrays, targets).compile().memory_analysis()
        sizes[function] = memory.temp_size_in_bytes
    assert sizes[chunked] <= sizes[unchunked] / 4


def assert_equal(result, expected):
    """Asserts equal outputs and gradients, up to rounding."""
    np.testing.assert_array_equal(result[0][2], expected[0][2])
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5), result, expected
    )


@pytest.mark.parametrize("shape", [(5,), (4, 3), (2, 4, 7)])
def test_is_most_probable_equals_argmax_with_ties(shape):
    *_, size = shape
    # Rounded, so that most rows have several maxima.
    for key in jax.random.split(jax.random.key(0), 20):
        logits = jnp.round(jax.random.normal(key, shape))
        for token in range(size):
            targets = jnp.full(shape[:-1], token)
            result = jax.jit(is_most_probable)(logits, targets)
            np.testing.assert_array_equal(result, jnp.argmax(logits, axis=-1) == targets)


def test_nan_is_never_most_probable():
    logits = jnp.array([[jnp.nan, 1.0], [1.0, jnp.nan], [jnp.nan, jnp.nan]])
    for token in range(2):
        assert not is_most_probable(logits, jnp.full(3, token)).any()


def test_infinite_logits_are_compared():
    logits = jnp.array([[-jnp.inf, 0.0, -jnp.inf], [jnp.inf, 0.0, jnp.inf]])
    np.testing.assert_array_equal(is_most_probable(logits, jnp.array([1, 0])), [True, True])
    np.testing.assert_array_equal(is_most_probable(logits, jnp.array([0, 2])), [False, False])
