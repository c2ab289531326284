"""Chunks of a matrix recurrence equal its steps: values, gradients, resets, holes, lengths."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from rnnjax.kernels.masking import where_mask
from rnnjax.kernels.matrix_recurrence import (
    MatrixInputs,
    MatrixState,
    chunkwise_matrix_recurrence,
    matrix_step,
)

ROWS, HEADS, KEYS, VALUES = 3, 2, 3, 2
FORMS = ("scalar", "channels", "delta", "gain", "low rank")
LOWEST = -0.7
"""Lower bound of the log decays beside a transition of low rank."""


def draw(form: str, time: int, dtype: Any = np.float32) -> Any:
    """Returns [random inputs, initial state, reset state], mask and resets."""
    rng = np.random.default_rng([time, len(form)])

    def normal(*shape) -> Any:
        return rng.standard_normal(shape).astype(dtype)

    steps = (ROWS, time, HEADS)
    decay_shape = (*steps, KEYS) if form in ("channels", "low rank") else steps
    log_decay: Any = -np.abs(normal(*decay_shape))
    sigmoid: Any = 1 / (1 + np.exp(-normal(*steps)))
    low_rank: dict[str, Any] = {}
    if form == "low rank":
        log_decay = np.maximum(log_decay, np.asarray(LOWEST, dtype))
        right = normal(*steps, KEYS)
        right /= np.linalg.norm(right, axis=-1, keepdims=True)
        low_rank = {"left": sigmoid[..., None] * right, "right": right}
    inputs = MatrixInputs(
        normal(*steps, KEYS),
        normal(*steps, KEYS) / np.sqrt(KEYS).astype(dtype),
        normal(*steps, VALUES),
        log_decay,
        sigmoid if form == "delta" else None,
        normal(*steps) if form == "gain" else None,
        **low_rank,
    )
    states = [
        MatrixState(
            normal(ROWS, HEADS, KEYS, VALUES),
            np.abs(normal(ROWS, HEADS)) if form == "gain" else None,
        )
        for _ in range(2)
    ]
    mask = rng.random((ROWS, time)) < 0.8
    mask[-1] = False
    return [inputs, *states], mask, rng.random((ROWS, time)) < 0.1


def by_steps(arguments, mask, resets, reverse) -> Any:
    """Returns the results of `matrix_step` under the mask rule."""
    inputs, state, reset_state = arguments

    def body(state, values):
        inputs, real, reset = values
        state = jax.tree.map(functools.partial(where_mask, reset), reset_state, state)
        new, products = matrix_step(state, inputs)
        new = jax.tree.map(functools.partial(where_mask, real), new, state)
        return new, products

    steps = jax.tree.map(lambda leaf: leaf.swapaxes(0, 1), (inputs, mask, resets))
    final, products = jax.lax.scan(body, state, steps, reverse=reverse)
    return final, where_mask(mask, products.swapaxes(0, 1), 0 * products.swapaxes(0, 1))


def by_chunks(arguments, mask, resets, reverse, length=None) -> Any:
    """Returns the same by chunks."""
    inputs, state, reset_state = arguments
    lowest = None if inputs.left is None else LOWEST
    final, products, _ = chunkwise_matrix_recurrence(
        inputs, state, mask, reverse, resets, reset_state, length, lowest
    )
    return final, where_mask(mask, products, jnp.zeros_like(products))


@functools.partial(jax.jit, static_argnums=(0, 1))
def with_gradients(run, reverse, arguments, mask, resets, cotangents):
    """Returns the results, and the gradients of inputs, state and reset state."""
    results, pull_back = jax.vjp(lambda arguments: run(arguments, mask, resets, reverse), arguments)
    return results, pull_back(cotangents)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("time", "reverse"), [(7, False), (150, True)])
def test_chunks_equal_steps(form, time, reverse):
    arguments, mask, resets = draw(form, time)
    shapes = jax.eval_shape(lambda: by_steps(arguments, mask, resets, reverse))
    rng = np.random.default_rng(5)
    cotangents = jax.tree.map(
        lambda leaf: rng.standard_normal(leaf.shape).astype(leaf.dtype), shapes
    )
    broken = jax.tree.map(lambda leaf: np.array(leaf), arguments)
    for leaf in jax.tree.leaves(broken[0]):
        leaf[~mask] = np.nan
    expected = with_gradients(by_steps, reverse, arguments, mask, resets, cotangents)
    actual = with_gradients(by_chunks, reverse, broken, mask, resets, cotangents)
    for a, b in zip(*map(jax.tree.leaves, (actual, expected)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=2e-5 * max(1, np.abs(b).max()))
    # A row with no real step and no reset returns its state, bit for bit.
    (final, _), _ = with_gradients(by_chunks, reverse, broken, mask, resets & False, cotangents)
    for a, b in zip(*map(jax.tree.leaves, (final, broken[1])), strict=True):
        np.testing.assert_array_equal(a[-1], b[-1])


@pytest.mark.parametrize("form", [form for form in FORMS if form != "low rank"])
def test_strong_decays_cost_no_digits(form):
    """Steps that forget all stand beside steps that forget little."""
    arguments, mask, resets = draw(form, 60)
    inputs, *states = arguments
    strong = np.random.default_rng(1).random((ROWS, 60)) < 0.2
    log_decay = np.where(
        strong.reshape(*strong.shape, *(1,) * (inputs.log_decay.ndim - 2)),
        np.float32(-3000),
        inputs.log_decay * np.float32(0.1),
    )
    arguments = [inputs._replace(log_decay=log_decay), *states]
    actual, expected = (
        jax.jit(run, static_argnums=3)(arguments, mask, resets, False)
        for run in (by_chunks, by_steps)
    )
    for a, b in zip(*map(jax.tree.leaves, (actual, expected)), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6 * max(1, np.abs(b).max()))


def test_lowest_decays_of_a_low_rank_cost_no_digits():
    arguments, mask, resets = draw("low rank", 70)
    inputs, *states = arguments
    inputs = inputs._replace(log_decay=np.full_like(inputs.log_decay, LOWEST))
    actual, expected = (
        jax.jit(run, static_argnums=3)([inputs, *states], mask, resets, False)
        for run in (functools.partial(by_chunks, length=32), by_steps)
    )
    for a, b in zip(*map(jax.tree.leaves, (actual, expected)), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=2e-6 * max(1, np.abs(b).max()))


@pytest.mark.parametrize(
    ("form", "changes", "lowest", "message"),
    [
        ("low rank", {}, None, "lowest_log_decay: given None"),
        ("low rank", {}, 0.0, "lowest_log_decay: given 0.0"),
        ("low rank", {"right": None}, LOWEST, "left, right: given one"),
        ("low rank", {"beta": np.ones((ROWS, 5, HEADS), np.float32)}, LOWEST, "given with beta"),
        ("low rank", {"log_gain": np.ones((ROWS, 5, HEADS), np.float32)}, LOWEST, "or log_gain"),
        ("scalar", {}, LOWEST, "a decay for each key channel"),
    ],
)
def test_inputs_that_do_not_go_together_are_refused(form, changes, lowest, message):
    (inputs, state, _), *_ = draw(form, 5)
    with pytest.raises(ValueError, match=message):
        chunkwise_matrix_recurrence(inputs._replace(**changes), state, lowest_log_decay=lowest)


def test_bounded_decays_of_channels_need_no_low_rank():
    (inputs, state, reset_state), mask, resets = draw("low rank", 150)
    inputs = inputs._replace(left=None, right=None)
    # Chunks of this length would overflow.
    actual = chunkwise_matrix_recurrence(
        inputs, state, mask, False, resets, reset_state, 150, lowest_log_decay=LOWEST
    )
    expected = chunkwise_matrix_recurrence(inputs, state, mask, False, resets, reset_state)
    for a, b in zip(*map(jax.tree.leaves, (actual, expected)), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=2e-6 * max(1, np.abs(b).max()))


@pytest.mark.parametrize(
    ("form", "keys", "chunk"),
    [
        *[("scalar", 8, 16), ("scalar", 64, 32), ("scalar", 256, 64)],
        *[("delta", 256, 32), ("channels", 256, 8), ("low rank", 256, 32)],
    ],
)
def test_default_chunk_follows_the_key_size(form, keys, chunk):
    (inputs, state, _), *_ = draw(form, 256)

    def widen(leaf):
        return np.zeros((*leaf.shape[:-1], keys)) if leaf.shape[-1] == KEYS else leaf

    inputs, state = jax.tree.map(
        widen, (inputs, state._replace(matrix=np.zeros((ROWS, HEADS, keys, VALUES))))
    )
    lowest = LOWEST if form == "low rank" else None
    jaxpr = jax.make_jaxpr(
        lambda inputs: chunkwise_matrix_recurrence(inputs, state, lowest_log_decay=lowest)
    )(inputs)
    lengths = [equation.params["length"] for equation in jaxpr.eqns if "length" in equation.params]
    assert 256 // chunk in lengths


@pytest.mark.parametrize("form", FORMS)
def test_gradients_equal_finite_differences(form):
    with jax.enable_x64(True):
        arguments, mask, resets = draw(form, 6, dtype=np.float64)
        check_grads(
            jax.jit(lambda arguments: by_chunks(arguments, mask, resets, False, 4)),
            (arguments,),
            order=1,
            modes=["rev"],
            eps=1e-5,
            atol=1e-7,
            rtol=1e-7,
        )


def test_memory_grows_by_the_states_between_chunks():
    def temporary_bytes(time):
        vectors, numbers = jnp.zeros((1, time, 1, 64)), jnp.zeros((1, time, 1))
        inputs = MatrixInputs(vectors, vectors, vectors, numbers, numbers)
        state = MatrixState(jnp.zeros((1, 1, 64, 64)))

        def loss(inputs):
            return chunkwise_matrix_recurrence(inputs, state)[1].sum()

        analysis: Any = jax.jit(jax.grad(loss)).lower(inputs).compile().memory_analysis()
        return analysis.temp_size_in_bytes

    short, long = temporary_bytes(512), temporary_bytes(2048)
    states = 1536 * 64 * 64 * 4
    assert long - short < states / 6
