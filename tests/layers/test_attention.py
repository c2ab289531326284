"""Attention: what it computes, and what reaches it."""

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


def answer(module, queries, memory, mask):
    """Returns the contexts and weights of some queries."""
    return module(queries, module.prepare(memory, mask))


def made(kind):
    """Returns an attention and random parameters of it."""
    attention = kind(features=5)
    init = jax.eval_shape(
        lambda: attention.init(jax.random.key(0), QUERIES, MEMORY, MASK, method=answer)
    )
    rng = np.random.default_rng(1)
    return attention, jax.tree.map(
        lambda leaf: rng.standard_normal(leaf.shape).astype(leaf.dtype), init
    )


def run(kind, queries=QUERIES, memory=MEMORY, mask=MASK):
    """Returns contexts and weights in NumPy arrays."""
    attention, variables = made(kind)
    call = jax.jit(lambda *given: attention.apply(variables, *given, method=answer))
    return jax.tree.map(np.asarray, call(queries, memory, mask))


def by_hand(kind, variables, query, memory):
    """Returns the context and the weights of one query and the real steps of one row."""
    given = variables["params"]
    scores = []
    for step in memory:
        key = step @ given["key"]["kernel"]
        if kind is MultiplicativeAttention:
            scores.append(query @ key)
        else:
            asked = query @ given["query"]["kernel"] + given["query"]["bias"]
            scores.append(np.tanh(asked + key) @ given["vector"])
    weights = np.exp(scores) / np.sum(np.exp(scores))
    return sum(weight * step for weight, step in zip(weights, memory, strict=True)), weights


@pytest.mark.parametrize("kind", KINDS)
def test_it_computes_what_a_loop_computes(kind):
    _, variables = made(kind)
    contexts, weights = run(kind)
    for row, length in enumerate(LENGTHS[:-1]):
        for number in range(QUERIES.shape[1]):
            expected = by_hand(kind, variables, QUERIES[row, number], MEMORY[row, :length])
            np.testing.assert_allclose(contexts[row, number], expected[0], rtol=2e-5, atol=1e-6)
            np.testing.assert_allclose(weights[row, number, :length], expected[1], rtol=2e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_one_query_gets_what_it_gets_among_others(kind):
    contexts, weights = run(kind)
    context, weight = run(kind, QUERIES[:, 1])
    np.testing.assert_allclose(context, contexts[:, 1], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(weight, weights[:, 1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("junk", [1e9, np.inf, np.nan])
def test_what_is_masked_reaches_no_result_and_no_gradient(kind, junk):
    attention, variables = made(kind)

    def gradients(memory):
        def loss(variables, queries, memory):
            context, weights = attention.apply(variables, queries, memory, MASK, method=answer)
            return jnp.sum(jnp.sin(context)) + jnp.sum(jnp.cos(weights))

        return jax.jit(jax.grad(loss, argnums=(0, 1, 2)))(variables, QUERIES, memory)

    spoiled = np.where(MASK[..., None], MEMORY, np.float32(junk))
    for one, other in zip(run(kind), run(kind, memory=spoiled), strict=True):
        np.testing.assert_array_equal(one, other)
    clean = gradients(MEMORY)
    jax.tree.map(np.testing.assert_array_equal, clean, gradients(spoiled))
    assert not np.any(np.asarray(clean[2])[~MASK])
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(clean))


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_with_no_real_step_gets_zeros_and_the_weights_of_others_sum_to_one(kind):
    contexts, weights = run(kind)
    assert not contexts[3].any()
    assert not weights[~np.broadcast_to(MASK[:, None], weights.shape)].any()
    np.testing.assert_allclose(weights[:3].sum(axis=-1), 1, rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_holes_and_more_padding_change_nothing(kind):
    contexts, _ = run(kind)
    memory = np.full((4, 9, 7), np.nan, np.float32)
    mask = np.zeros((4, 9), bool)
    places = [0, 2, 3, 5, 6, 8]
    memory[:, places], mask[:, places] = MEMORY, MASK
    np.testing.assert_allclose(run(kind, memory=memory, mask=mask)[0], contexts, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_is_that_of_differences(kind):
    attention, variables = made(kind)

    def call(variables, queries, memory):
        return attention.apply(variables, queries, memory, MASK, method=answer)

    small = jax.tree.map(lambda leaf: 0.3 * leaf, variables)
    check_grads(call, (small, QUERIES, MEMORY), order=1, modes=["rev"], atol=2e-2, rtol=2e-2)


def test_what_does_not_fit_is_refused():
    attention, variables = made(MultiplicativeAttention)
    for memory, mask in [(MEMORY[0], MASK), (MEMORY, MASK[:, :4]), (MEMORY, MASK.astype(int))]:
        with pytest.raises(InputError, match=r"^memory: given"):
            attention.apply(variables, memory, mask, method="prepare")
    with pytest.raises(InputError, match="give it features=4"):
        attention.apply(variables, QUERIES[..., :4], MEMORY, MASK, method=answer)
