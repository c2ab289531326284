"""A whole GRU sequence with a hand-written derivative."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from rnnjax.kernels.activations import sigmoid
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


def fused_gru(
    projected: Float[Array, "batch time gates"],
    recurrent_kernel: Float[Array, "features gates"],
    recurrent_bias: Float[Array, " gates"],
    state: Float[Array, "batch features"],
    mask: Bool[Array, "batch time"] | None,
    reverse: bool,
    resets: Bool[Array, "batch time"] | None = None,
    reset_state: Float[Array, "batch features"] | None = None,
) -> tuple[Float[Array, "batch features"], Float[Array, "batch time features"]]:
    """Runs `rnnjax.cells.GRUCell` over time, the reset gate after the product, under the mask rule.

    The forward pass saves the gates, the candidate's part of the product and the states. Each
    gradient of a step is a factor, computed for all steps beforehand, times the gradient of the
    new state. Reverse mode only.

    Args:
      projected: the inputs' part of the gates r, z, n, `gates = 3 * features`. Its dtype is that of
        the product.
      recurrent_kernel: the three recurrent kernels side by side.
      recurrent_bias: added to the product.
      state: before the first step. Its dtype is that of the gates and of the states.
      mask: True where a step is real; None if all are.
      reverse: from the last step to the first.
      resets: True where a step begins from `reset_state`; None for nowhere.
      reset_state: as `state`, needed with `resets`.

    Returns:
      The state after the last step, and the states, zero at masked steps, in the dtype of
      `projected`.
    """
    result: Any = _gru(
        projected, recurrent_kernel, recurrent_bias, state, mask, resets, reset_state, reverse
    )
    return result


@functools.partial(jax.custom_vjp, nondiff_argnums=(7,))
def _gru(*arguments):
    return _forward(*arguments)[0]


def _forward(
    projected, recurrent_kernel, recurrent_bias, state, mask, resets, reset_state, reverse
):
    dtype, features = state.dtype, recurrent_kernel.shape[0]
    kernel = recurrent_kernel.astype(projected.dtype)

    def step(state, values, at):
        inputs, state = values[0], read_state(at, resets, reset_state, state)
        product = (state.astype(kernel.dtype) @ kernel).astype(dtype)
        product = product + match_rank(recurrent_bias.astype(dtype), product)
        num_gate_units = 2 * features
        gates = sigmoid(inputs[:, :num_gate_units] + product[:, :num_gate_units])
        r, z = jnp.split(gates, 2, axis=-1)
        n = jnp.tanh(inputs[:, num_gate_units:] + r * product[:, num_gate_units:])
        new = (1 - z) * n + z * state
        if mask is not None:
            new = where_mask(at(mask), new, state)
        return new, (jnp.concatenate([gates, n], axis=-1), new, product[:, num_gate_units:])

    values = projected.astype(dtype)
    arrays = values, *(empty(values, features, dtype) for _ in range(2))
    final, (gates, states, product) = scan_time(step, state, arrays, reverse)
    outputs = zero_masked(states, mask).astype(projected.dtype)
    arguments = recurrent_kernel, recurrent_bias, state, mask, resets, reset_state
    return (final, outputs), (arguments, states, gates, product)


def _backward(reverse, residuals, cotangents):
    arguments, states, gates, product = residuals
    recurrent_kernel, recurrent_bias, state, mask, resets, reset_state = arguments
    grad_state, grad_outputs = cotangents
    dtype = grad_outputs.dtype
    r, z, n = jnp.split(gates, 3, axis=-1)
    previous = previous_states(states, state, reverse, resets, reset_state)
    slope_n = zero_masked((1 - z) * (1 - n * n), mask)
    slope_r = zero_masked(slope_n * product * r * (1 - r), mask)
    slope_z = zero_masked((previous - n) * z * (1 - z), mask)
    factors = jnp.concatenate([slope_r, slope_z, zero_masked(slope_n * r, mask)], axis=-1)
    state_slope = where_mask(mask, z, jnp.ones_like(z))
    grad_outputs = zero_masked(grad_outputs.astype(states.dtype), mask)
    kernel = recurrent_kernel.T.astype(dtype)

    def step(carry, factors, at):
        (grad_state, grad_reset), (factors, slope_n) = carry, factors
        grad_new = grad_state + at(grad_outputs)
        grad_product = (factors * jnp.concatenate([grad_new] * 3, axis=-1)).astype(dtype)
        grad_previous = grad_new * at(state_slope) + (grad_product @ kernel).astype(grad_new.dtype)
        carry = split_gradient(at, resets, grad_previous, grad_reset)
        return carry, (grad_product.astype(grad_new.dtype), slope_n * grad_new)

    carry = grad_state, jax.tree.map(jnp.zeros_like, reset_state)
    carry, factors = scan_time(step, carry, (factors, slope_n), not reverse)
    grad_state, grad_reset = carry
    grad_product, grad_n = (grad.astype(dtype) for grad in factors)
    num_gate_units = 2 * states.shape[-1]
    grad_projected = jnp.concatenate([grad_product[..., :num_gate_units], grad_n], axis=-1)
    grad_kernel = kernel_gradient(previous, grad_product, recurrent_kernel)
    grad_bias = jnp.sum(grad_product, axis=(0, 1), dtype=recurrent_bias.dtype)
    return grad_projected, grad_kernel, grad_bias, grad_state, None, None, grad_reset


_gru.defvjp(_forward, _backward)
