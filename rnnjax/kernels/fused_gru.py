"""A whole GRU sequence with a hand-written derivative."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from rnnjax.kernels.activations import sigmoid
from rnnjax.kernels.broadcasting import match_rank
from rnnjax.kernels.time_scan import (
    empty,
    kernel_gradient,
    previous_states,
    scan_time,
    where_mask,
    zero_masked,
)


def fused_gru(
    projected: Float[Array, "batch time gates"],
    recurrent_kernel: Float[Array, "features gates"],
    recurrent_bias: Float[Array, " gates"],
    state: Float[Array, "batch features"],
    mask: Bool[Array, "batch time"] | None,
    reverse: bool,
) -> tuple[Float[Array, "batch features"], Float[Array, "batch time features"]]:
    """Runs `rnnjax.cells.GRUCell` over time, the reset gate after the product, under the mask law.

    The forward pass keeps the gates, the candidate's part of the product and the states. All that
    the backward pass pulls through a step is a factor, known beforehand, times the gradient of the
    new state. Reverse mode only.

    Args:
      projected: the inputs' part of the gates r, z, n, `gates = 3 * features`. Its dtype is that of
        the product.
      recurrent_kernel: the three recurrent kernels side by side.
      recurrent_bias: what is added to the product.
      state: before the first step. Its dtype is that of the gates and of the states.
      mask: True where a step is real; None if all are.
      reverse: from the last step to the first.

    Returns:
      The state after the last step, and the states, zero at masked steps, in the dtype of
      `projected`.
    """
    result: Any = _gru(projected, recurrent_kernel, recurrent_bias, state, mask, reverse)
    return result


@functools.partial(jax.custom_vjp, nondiff_argnums=(5,))
def _gru(projected, recurrent_kernel, recurrent_bias, state, mask, reverse):
    return _forward(projected, recurrent_kernel, recurrent_bias, state, mask, reverse)[0]


def _forward(projected, recurrent_kernel, recurrent_bias, state, mask, reverse):
    dtype, features = state.dtype, recurrent_kernel.shape[0]
    kernel = recurrent_kernel.astype(projected.dtype)

    def step(state, given, at):
        inputs = given[0]
        product = (state.astype(kernel.dtype) @ kernel).astype(dtype)
        product = product + match_rank(recurrent_bias.astype(dtype), product)
        two = 2 * features
        gates = sigmoid(inputs[:, :two] + product[:, :two])
        r, z = jnp.split(gates, 2, axis=-1)
        n = jnp.tanh(inputs[:, two:] + r * product[:, two:])
        new = (1 - z) * n + z * state
        if mask is not None:
            new = where_mask(at(mask), new, state)
        return new, (jnp.concatenate([gates, n], axis=-1), new, product[:, two:])

    given = projected.astype(dtype)
    arrays = given, *(empty(given, features, dtype) for _ in range(2))
    final, (gates, states, product) = scan_time(step, state, arrays, reverse)
    outputs = zero_masked(states, mask).astype(projected.dtype)
    return (final, outputs), (recurrent_kernel, recurrent_bias, state, mask, states, gates, product)


def _backward(reverse, saved, cotangents):
    recurrent_kernel, recurrent_bias, state, mask, states, gates, product = saved
    d_state, d_outputs = cotangents
    dtype = d_outputs.dtype
    r, z, n = jnp.split(gates, 3, axis=-1)
    earlier = previous_states(states, state, reverse)
    by_n = zero_masked((1 - z) * (1 - n * n), mask)
    by_r = zero_masked(by_n * product * r * (1 - r), mask)
    by_z = zero_masked((earlier - n) * z * (1 - z), mask)
    factors = jnp.concatenate([by_r, by_z, zero_masked(by_n * r, mask)], axis=-1)
    kept = where_mask(mask, z, jnp.ones_like(z))
    d_outputs = zero_masked(d_outputs.astype(states.dtype), mask)
    kernel = recurrent_kernel.T.astype(dtype)

    def step(d_state, by, at):
        factors, by_n = by
        d_new = d_state + at(d_outputs)
        d_product = (factors * jnp.concatenate([d_new] * 3, axis=-1)).astype(dtype)
        below = d_new * at(kept) + (d_product @ kernel).astype(d_new.dtype)
        return below, (d_product.astype(d_new.dtype), by_n * d_new)

    d_state, by = scan_time(step, d_state, (factors, by_n), not reverse)
    d_product, d_n = (each.astype(dtype) for each in by)
    two = 2 * states.shape[-1]
    d_projected = jnp.concatenate([d_product[..., :two], d_n], axis=-1)
    d_kernel = kernel_gradient(earlier, d_product, recurrent_kernel)
    d_bias = jnp.sum(d_product, axis=(0, 1), dtype=recurrent_bias.dtype)
    return d_projected, d_kernel, d_bias, d_state, None


_gru.defvjp(_forward, _backward)
