"""A whole LSTM sequence with a hand-written derivative."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from rnnjax.kernels.sequence import before, empty, held, kernel_gradient, over_time, real

Half = tuple[Float[Array, "batch features"], Float[Array, "batch features"]]


def lstm(
    projected: Float[Array, "batch time gates"],
    recurrent_kernel: Float[Array, "features gates"],
    state: Half,
    mask: Bool[Array, "batch time"] | None,
    reverse: bool,
) -> tuple[Half, Float[Array, "batch time features"]]:
    """Runs `rnnjax.cells.LSTMCell` over time, under the mask law.

    The forward pass keeps the activated gates and the states. From them the backward pass makes all
    of its elementwise factors for all steps at once, so that its loop holds one product and a few
    multiplications; the gradient of the recurrent kernel is one product after the loop. Reverse
    mode only: forward-mode derivatives need the loop of `nn.scan`.

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
    """Returns final state and outputs, and hidden states, cell states and gates if kept."""
    dtype, features = state[0].dtype, recurrent_kernel.shape[0]
    # logistic(z) = tanh(z / 2) / 2 + 1/2: one tanh serves the four gates. Halves are exact.
    half, one = jnp.full(features, 0.5, dtype), jnp.ones(features, dtype)
    scale = jnp.concatenate([half, half, one, half])
    shift = jnp.concatenate([half, half, 0 * one, half])
    small = scale.astype(projected.dtype)
    kernel = recurrent_kernel.astype(projected.dtype) * small

    def step(state, given, at):
        hidden, cell = state
        inputs = given[1] if keep else at(projected).astype(dtype)
        z = inputs.astype(kernel.dtype) * small + hidden.astype(kernel.dtype) @ kernel
        gates = jnp.tanh(z.astype(dtype)) * scale + shift
        i, f, g, o = jnp.split(gates, 4, axis=-1)
        new_cell = f * cell + i * g
        new_hidden = o * jnp.tanh(new_cell)
        if mask is not None:
            new_hidden = held(at(mask), new_hidden, hidden)
            new_cell = held(at(mask), new_cell, cell)
        new = new_hidden, new_cell
        return new, (new_hidden, gates, new_cell) if keep else (new_hidden,)

    arrays = (empty(projected, features, dtype),)
    if keep:
        arrays += projected.astype(dtype), empty(projected, features, dtype)
    final, (hidden, *others) = over_time(step, state, arrays, reverse)
    outputs = real(hidden, mask).astype(projected.dtype)
    return (final, outputs), (hidden, *others)


def _backward(reverse, saved, pulled):
    recurrent_kernel, state, mask, hidden, gates, cell = saved
    d_state, d_outputs = pulled
    dtype = d_outputs.dtype
    i, f, g, o = jnp.split(gates, 4, axis=-1)
    activated = jnp.tanh(cell)
    by_cell = (g * i * (1 - i), before(cell, state[1], reverse) * f * (1 - f), i * (1 - g * g))
    by_hidden = activated * o * (1 - o)
    factors = real(jnp.concatenate([*by_cell, by_hidden], axis=-1), mask)
    through = real(o * (1 - activated * activated), mask)
    kept = held(mask, f, jnp.ones_like(f))
    d_outputs = real(d_outputs.astype(hidden.dtype), mask)
    kernel = recurrent_kernel.T.astype(dtype)

    def step(carry, factors, at):
        d_hidden, d_cell = carry
        d_new_hidden = d_hidden + at(d_outputs)
        d_new_cell = d_cell + d_new_hidden * at(through)
        pulled = jnp.concatenate([d_new_cell, d_new_cell, d_new_cell, d_new_hidden], axis=-1)
        d_gates = (factors * pulled).astype(dtype)
        below = (d_gates @ kernel).astype(d_hidden.dtype)
        if mask is not None:
            below = held(at(mask), below, d_hidden)
        return (below, d_new_cell * at(kept)), d_gates.astype(factors.dtype)

    d_state, d_projected = over_time(step, d_state, factors, not reverse)
    d_projected = d_projected.astype(dtype)
    d_kernel = kernel_gradient(before(hidden, state[0], reverse), d_projected, recurrent_kernel)
    return d_projected, d_kernel, d_state, None


_lstm.defvjp(_forward, _backward)
