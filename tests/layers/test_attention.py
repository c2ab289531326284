"""Attention: values, masks and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from rnnjax.errors import InputError
from rnnjax.layers import AdditiveAttention, MultiplicativeAttention

KINDS = [AdditiveAttention, MultiplicativeAttention]
RNG = np.random.default_rng(0)
QUERIES = RNG.standard_normal((4, 3, 5)).astype(np.float32)
MEMORY = RNG.standard_normal((4, 6, 7)).astype(np.float32)
LENGTHS = [6, 3, 1, 0]
MASK = np.arange(6) < np.array(LENGTHS)[:, None]


def attend(module, queries, memory, mask):
    """Returns the contexts and weights of some queries."""
    return module(queries, module.prepare(memory, mask))


def random_attention(kind):
    """Returns an attention and random parameters of it."""
    attention = kind(features=5)
    init = jax.eval_shape(
        lambda: attention.init(jax.random.key(0), QUERIES, MEMORY, MASK, method=attend)
    )
    rng = np.random.default_rng(1)
    return attention, jax.tree.map(
        lambda leaf: rng.standard_normal(leaf.shape).astype(leaf.dtype), init
    )


def run(kind, queries=QUERIES, memory=MEMORY, mask=MASK):
    """Returns contexts and weights in NumPy arrays."""
    attention, variables = random_attention(kind)
    call = jax.jit(lambda *arguments: attention.apply(variables, *arguments, method=attend))
    return jax.tree.map(np.asarray, call(queries, memory, mask))


def loop_attention(kind, variables, query, memory):
    """Returns the context and the weights of one query over the valid steps of one row."""
    params = variables["params"]
    scores = []
    for step in memory:
        key = step @ params["key"]["kernel"]
        if kind is MultiplicativeAttention:
            scores.append(query @ key)
        else:
            projected_query = query @ params["query"]["kernel"] + params["query"]["bias"]
            scores.append(np.tanh(projected_query + key) @ params["vector"])
    weights = np.exp(scores) / np.sum(np.exp(scores))
    return sum(weight * step for weight, step in zip(weights, memory, strict=True)), weights


@pytest.mark.parametrize("kind", KINDS)
def test_attention_equals_a_loop(kind):
    _, variables = random_attention(kind)
    contexts, weights = run(kind)
    for row, length in enumerate(LENGTHS[:-1]):
        for number in range(QUERIES.shape[1]):
            expected = loop_attention(kind, variables, QUERIES[row, number], MEMORY[row, :length])
            np.testing.assert_allclose(contexts[row, number], expected[0], rtol=2e-5, atol=1e-6)
            np.testing.assert_allclose(weights[row, number, :length], expected[1], rtol=2e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_single_query_equals_its_row_among_several(kind):
    contexts, weights = run(kind)
    context, weight = run(kind, QUERIES[:, 1])
    np.testing.assert_allclose(context, contexts[:, 1], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(weight, weights[:, 1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("masked_value", [1e9, np.inf, np.nan])
def test_masked_values_do_not_affect_results_or_gradients(kind, masked_value):
    attention, variables = random_attention(kind)

    def gradients(memory):
        def loss(variables, queries, memory):
            context, weights = attention.apply(variables, queries, memory, MASK, method=attend)
            return jnp.sum(jnp.sin(context)) + jnp.sum(jnp.cos(weights))

        return jax.jit(jax.grad(loss, argnums=(0, 1, 2)))(variables, QUERIES, memory)

    spoiled = np.where(MASK[..., None], MEMORY, np.float32(masked_value))
    for actual, expected in zip(run(kind), run(kind, memory=spoiled), strict=True):
        np.testing.assert_array_equal(actual, expected)
    clean = gradients(MEMORY)
    jax.tree.map(np.testing.assert_array_equal, clean, gradients(spoiled))
    assert not np.any(np.asarray(clean[2])[~MASK])
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(clean))


@pytest.mark.parametrize("kind", KINDS)
def test_empty_rows_are_zero_and_weights_sum_to_one(kind):
    contexts, weights = run(kind)
    assert not contexts[3].any()
    assert not weights[~np.broadcast_to(MASK[:, None], weights.shape)].any()
    np.testing.assert_allclose(weights[:3].sum(axis=-1), 1, rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_holes_and_padding_change_nothing(kind):
    contexts, _ = run(kind)
    memory = np.full((4, 9, 7), np.nan, np.float32)
    mask = np.zeros((4, 9), bool)
    positions = [0, 2, 3, 5, 6, 8]
    memory[:, positions], mask[:, positions] = MEMORY, MASK
    np.testing.assert_allclose(run(kind, memory=memory, mask=mask)[0], contexts, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_equal_finite_differences(kind):
    attention, variables = random_attention(kind)

    def call(variables, queries, memory):
        return attention.apply(variables, queries, memory, MASK, method=attend)

    small = jax.tree.map(lambda leaf: 0.3 * leaf, variables)
    check_grads(call, (small, QUERIES, MEMORY), order=1, modes=["rev"], atol=2e-2, rtol=2e-2)


def test_mismatched_shapes_raise():
    attention, variables = random_attention(MultiplicativeAttention)
    for memory, mask in [(MEMORY[0], MASK), (MEMORY, MASK[:, :4]), (MEMORY, MASK.astype(int))]:
        with pytest.raises(InputError, match=r"^memory: given"):
            attention.apply(variables, memory, mask, method="prepare")
    with pytest.raises(InputError, match="give it features=4"):
        attention.apply(variables, QUERIES[..., :4], MEMORY, MASK, method=attend)
