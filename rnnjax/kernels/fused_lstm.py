"""A whole LSTM sequence with a hand-written derivative."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from rnnjax.kernels.broadcasting import match_rank
from rnnjax.kernels.time_scan import (
    empty,
    kernel_gradient,
    previous_states,
    scan_time,
    where_mask,
    zero_masked,
)

Half = tuple[Float[Array, "batch features"], Float[Array, "batch features"]]


def fused_lstm(
    projected: Float[Array, "batch time gates"],
    recurrent_kernel: Float[Array, "features gates"],
    state: Half,
    mask: Bool[Array, "batch time"] | None,
    reverse: bool,
) -> tuple[Half, Float[Array, "batch time features"]]:
    """Runs `rnnjax.cells.LSTMCell` over time, under the mask law.

    The forward pass keeps, beside the hidden states, neither gates nor cell states but the factors
    by which the backward pass multiplies: they are made while a step's numbers are in the cache,
    and the loop back holds one product and a few multiplications. The gradient of the recurrent
    kernel is one product after it. Reverse mode only: forward-mode derivatives need the loop of
    `nn.scan`.

    Args:
      projected: the inputs' part of the gates i, f, g, o, `gates = 4 * features`. Its dtype is that
        of the products.
      recurrent_kernel: the four recurrent kernels side by side.
      state: hidden and cell state before the first step. Their dtype is that of the gates and of
        the states.
      mask: True where a step is real; None if all are.
      reverse: from the last step to the first.

    Returns:
      The state after the last step, and the hidden states, zero at masked steps, in the dtype of
      `projected`.
    """
    result: Any = _lstm(projected, recurrent_kernel, tuple(state), mask, reverse)
    return result


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def _lstm(projected, recurrent_kernel, state, mask, reverse):
    return _run(projected, recurrent_kernel, state, mask, reverse, keep=False)[0]


def _forward(projected, recurrent_kernel, state, mask, reverse):
    result, kept = _run(projected, recurrent_kernel, state, mask, reverse, keep=True)
    return result, (recurrent_kernel, state, mask, *kept)


def _run(projected, recurrent_kernel, state, mask, reverse, keep):
    """Returns final state and outputs, and hidden states and the three factors if kept."""
    dtype, features = state[0].dtype, recurrent_kernel.shape[0]
    # logistic(z) = tanh(z / 2) / 2 + 1/2: one tanh serves the four gates. Halves are exact.
    half, one = jnp.full(features, 0.5, dtype), jnp.ones(features, dtype)
    scale = jnp.concatenate([half, half, one, half])
    shift = jnp.concatenate([half, half, 0 * one, half])
    small = scale.astype(projected.dtype)
    kernel = recurrent_kernel.astype(projected.dtype) * match_rank(small, recurrent_kernel)

    def step(state, given, at):
        hidden, cell = state
        inputs = given[1] if keep else at(projected).astype(dtype)
        z = inputs.astype(kernel.dtype) * match_rank(small, inputs)
        z = z + hidden.astype(kernel.dtype) @ kernel
        wave = jnp.tanh(z.astype(dtype))
        gates = wave * match_rank(scale, wave) + match_rank(shift, wave)
        i, f, g, o = jnp.split(gates, 4, axis=-1)
        new_cell = f * cell + i * g
        activated = jnp.tanh(new_cell)
        new_hidden = o * activated
        here = None if mask is None else at(mask)
        new = where_mask(here, new_hidden, hidden), where_mask(here, new_cell, cell)
        if not keep:
            return new, new[:1]
        slope = match_rank(scale * scale, wave) * (1 - wave * wave)  # of the gates, by z
        by_gates = slope * jnp.concatenate([g, cell, i, activated], axis=-1)
        by_hidden = o * (1 - activated * activated)
        by_cell = where_mask(here, f, jnp.ones_like(f))
        return new, (new[0], zero_masked(by_gates, here), zero_masked(by_hidden, here), by_cell)

    arrays = (empty(projected, features, dtype),)
    if keep:
        arrays += projected.astype(dtype), *(empty(projected, features, dtype) for _ in range(2))
    final, (hidden, *factors) = scan_time(step, state, arrays, reverse)
    outputs = zero_masked(hidden, mask).astype(projected.dtype)
    return (final, outputs), (hidden, *factors)


def _backward(reverse, saved, cotangents):
    recurrent_kernel, state, mask, hidden, by_gates, by_hidden, by_cell = saved
    d_state, d_outputs = cotangents
    dtype = d_outputs.dtype
    d_outputs = zero_masked(d_outputs.astype(hidden.dtype), mask)
    kernel = recurrent_kernel.T.astype(dtype)

    def step(carry, by_gates, at):
        d_hidden, d_cell = carry
        d_new_hidden = d_hidden + at(d_outputs)
        d_new_cell = d_cell + d_new_hidden * at(by_hidden)
        cotangents = jnp.concatenate([d_new_cell, d_new_cell, d_new_cell, d_new_hidden], axis=-1)
        d_gates = (by_gates * cotangents).astype(dtype)
        below = (d_gates @ kernel).astype(d_hidden.dtype)
        below = where_mask(None if mask is None else at(mask), below, d_hidden)
        return (below, d_new_cell * at(by_cell)), d_gates.astype(by_gates.dtype)

    d_state, d_projected = scan_time(step, d_state, by_gates, not reverse)
    d_projected = d_projected.astype(dtype)
    d_kernel = kernel_gradient(
        previous_states(hidden, state[0], reverse), d_projected, recurrent_kernel
    )
    return d_projected, d_kernel, d_state, None


_lstm.defvjp(_forward, _backward)
