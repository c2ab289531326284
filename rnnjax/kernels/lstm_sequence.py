"""A whole LSTM sequence with a hand-written derivative."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from rnnjax.kernels.broadcasting import match_rank
from rnnjax.kernels.masking import where_mask, zero_masked
from rnnjax.kernels.time_scan import (
    empty,
    kernel_gradient,
    previous_states,
    read_state,
    scan_time,
    split_gradient,
)

Half = tuple[Float[Array, "batch features"], Float[Array, "batch features"]]


def fused_lstm(
    projected: Float[Array, "batch time gates"],
    recurrent_kernel: Float[Array, "features gates"],
    state: Half,
    mask: Bool[Array, "batch time"] | None,
    reverse: bool,
    resets: Bool[Array, "batch time"] | None = None,
    reset_state: Half | None = None,
) -> tuple[Half, Float[Array, "batch time features"]]:
    """Runs `rnnjax.cells.LSTMCell` over time, under the mask rule.

    The forward pass saves, beside the hidden states, neither gates nor cell states but the factors
    by which the backward pass multiplies: they are computed while a step's numbers are in the
    cache, and the backward loop holds one product and a few multiplications. The gradient of the
    recurrent kernel is one product after it. Reverse mode only: forward-mode derivatives need the
    loop of `nn.scan`.

    Args:
      projected: the inputs' part of the gates i, f, g, o, `gates = 4 * features`. Its dtype is that
        of the products.
      recurrent_kernel: the four recurrent kernels side by side.
      state: hidden and cell state before the first step. Their dtype is that of the gates and of
        the states.
      mask: True where a step is real; None if all are.
      reverse: from the last step to the first.
      resets: True where a step begins from `reset_state`; None for nowhere.
      reset_state: as `state`, needed with `resets`.

    Returns:
      The state after the last step, and the hidden states, zero at masked steps, in the dtype of
      `projected`.
    """
    reset_state = None if reset_state is None else (reset_state[0], reset_state[1])
    result: Any = _lstm(
        projected, recurrent_kernel, tuple(state), mask, resets, reset_state, reverse
    )
    return result


@functools.partial(jax.custom_vjp, nondiff_argnums=(6,))
def _lstm(*arguments):
    return _run(*arguments, save_factors=False)[0]


def _forward(projected, recurrent_kernel, state, mask, resets, reset_state, reverse):
    result, factors = _run(
        projected, recurrent_kernel, state, mask, resets, reset_state, reverse, save_factors=True
    )
    return result, (recurrent_kernel, state, mask, resets, reset_state, *factors)


def _run(projected, recurrent_kernel, state, mask, resets, reset_state, reverse, save_factors):
    """Returns final state and outputs, and hidden states and the three factors if saved."""
    dtype, features = state[0].dtype, recurrent_kernel.shape[0]
    # sigmoid(z) = tanh(z / 2) / 2 + 1/2: one tanh serves the four gates. Halves are exact.
    half, one = jnp.full(features, 0.5, dtype), jnp.ones(features, dtype)
    scale = jnp.concatenate([half, half, one, half])
    shift = jnp.concatenate([half, half, 0 * one, half])
    input_scale = scale.astype(projected.dtype)
    kernel = recurrent_kernel.astype(projected.dtype) * match_rank(input_scale, recurrent_kernel)

    def step(state, values, at):
        hidden, cell = read_state(at, resets, reset_state, state)
        inputs = values[1] if save_factors else at(projected).astype(dtype)
        z = inputs.astype(kernel.dtype) * match_rank(input_scale, inputs)
        z = z + hidden.astype(kernel.dtype) @ kernel
        activated_gates = jnp.tanh(z.astype(dtype))
        gates = activated_gates * match_rank(scale, activated_gates) + match_rank(
            shift, activated_gates
        )
        i, f, g, o = jnp.split(gates, 4, axis=-1)
        new_cell = f * cell + i * g
        activated = jnp.tanh(new_cell)
        new_hidden = o * activated
        step_mask = None if mask is None else at(mask)
        new = where_mask(step_mask, new_hidden, hidden), where_mask(step_mask, new_cell, cell)
        if not save_factors:
            return new, new[:1]
        gate_slope = match_rank(scale * scale, activated_gates) * (
            1 - activated_gates * activated_gates
        )  # of the gates, by z
        slope_gates = gate_slope * jnp.concatenate([g, cell, i, activated], axis=-1)
        slope_hidden = o * (1 - activated * activated)
        slope_cell = where_mask(step_mask, f, jnp.ones_like(f))
        return new, (
            new[0],
            zero_masked(slope_gates, step_mask),
            zero_masked(slope_hidden, step_mask),
            slope_cell,
        )

    arrays = (empty(projected, features, dtype),)
    if save_factors:
        arrays += projected.astype(dtype), *(empty(projected, features, dtype) for _ in range(2))
    final, (hidden, *factors) = scan_time(step, state, arrays, reverse)
    outputs = zero_masked(hidden, mask).astype(projected.dtype)
    return (final, outputs), (hidden, *factors)


def _backward(reverse, residuals, cotangents):
    recurrent_kernel, state, mask, resets, reset_state, hidden, *factors = residuals
    slope_gates, slope_hidden, slope_cell = factors
    grad_state, grad_outputs = cotangents
    dtype = grad_outputs.dtype
    grad_outputs = zero_masked(grad_outputs.astype(hidden.dtype), mask)
    kernel = recurrent_kernel.T.astype(dtype)

    def step(carry, slope_gates, at):
        (grad_hidden, grad_cell), grad_reset = carry
        grad_new_hidden = grad_hidden + at(grad_outputs)
        grad_new_cell = grad_cell + grad_new_hidden * at(slope_hidden)
        cotangents = jnp.concatenate(
            [grad_new_cell, grad_new_cell, grad_new_cell, grad_new_hidden], axis=-1
        )
        grad_gates = (slope_gates * cotangents).astype(dtype)
        grad_previous = (grad_gates @ kernel).astype(grad_hidden.dtype)
        grad_previous = where_mask(None if mask is None else at(mask), grad_previous, grad_hidden)
        grad_read = grad_previous, grad_new_cell * at(slope_cell)
        carry = split_gradient(at, resets, grad_read, grad_reset)
        return carry, grad_gates.astype(slope_gates.dtype)

    carry = grad_state, jax.tree.map(jnp.zeros_like, reset_state)
    (grad_state, grad_reset), grad_projected = scan_time(step, carry, slope_gates, not reverse)
    grad_projected = grad_projected.astype(dtype)
    reset_hidden = None if reset_state is None else reset_state[0]
    previous = previous_states(hidden, state[0], reverse, resets, reset_hidden)
    grad_kernel = kernel_gradient(previous, grad_projected, recurrent_kernel)
    return grad_projected, grad_kernel, grad_state, None, None, grad_reset


_lstm.defvjp(_forward, _backward)
