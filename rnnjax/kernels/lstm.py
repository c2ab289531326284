"""A whole LSTM sequence with a hand-written derivative."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

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
    of its elementwise factors for all steps at once, so that its loop holds two products and a few
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
    return _forward(projected, recurrent_kernel, state, mask, reverse)[0]


def _forward(projected, recurrent_kernel, state, mask, reverse):
    dtype, features = state[0].dtype, recurrent_kernel.shape[0]
    # logistic(z) = tanh(z / 2) / 2 + 1/2: one tanh serves the four gates. Halves are exact.
    half, one = jnp.full(features, 0.5, dtype), jnp.ones(features, dtype)
    scale = jnp.concatenate([half, half, one, half])
    shift = jnp.concatenate([half, half, 0 * one, half])
    kernel = (recurrent_kernel * scale).astype(projected.dtype)
    steps = _real(jnp.swapaxes(projected, 0, 1), mask) * scale.astype(projected.dtype)

    def body(state, at):
        hidden, cell = state
        step, real = at
        z = (step + hidden.astype(kernel.dtype) @ kernel).astype(dtype)
        gates = jnp.tanh(z) * scale + shift
        i, f, g, o = jnp.split(gates, 4, axis=-1)
        new_cell = f * cell + i * g
        new_hidden = o * jnp.tanh(new_cell)
        if real is not None:
            new_hidden = jnp.where(real[:, None], new_hidden, hidden)
            new_cell = jnp.where(real[:, None], new_cell, cell)
        return (new_hidden, new_cell), (new_hidden, new_cell, gates)

    real = None if mask is None else mask.T
    final, (hidden, cell, gates) = jax.lax.scan(body, state, (steps, real), reverse=reverse)
    outputs = jnp.swapaxes(_real(hidden, mask), 0, 1).astype(projected.dtype)
    saved = (recurrent_kernel, state, mask, hidden, cell, gates)
    return (final, outputs), saved


def _backward(reverse, saved, pulled):
    recurrent_kernel, state, mask, hidden, cell, gates = saved
    (d_hidden, d_cell), d_outputs = pulled
    dtype, features = d_outputs.dtype, recurrent_kernel.shape[0]
    before_hidden, before_cell = (
        _before(states, first, reverse) for states, first in zip((hidden, cell), state, strict=True)
    )
    i, f, g, o = jnp.split(gates, 4, axis=-1)
    activated = jnp.tanh(cell)
    by_cell = _real(
        jnp.concatenate([g * i * (1 - i), before_cell * f * (1 - f), i * (1 - g * g)], axis=-1),
        mask,
    )
    by_hidden = _real(activated * o * (1 - o), mask)
    through = _real(o * (1 - activated * activated), mask)
    kept = f if mask is None else jnp.where(mask.T[..., None], f, 1)
    d_outputs = _real(jnp.swapaxes(d_outputs, 0, 1).astype(hidden.dtype), mask)
    # Two kernels, so that the loop has nothing to put side by side before its product.
    kernel = recurrent_kernel.T.astype(dtype)
    to_cell, to_hidden = kernel[: 3 * features], kernel[3 * features :]

    def body(carry, at):
        d_hidden, d_cell = carry
        d_output, by_cell, by_hidden, through, kept, real = at
        d_new_hidden = d_hidden + d_output
        d_new_cell = d_cell + d_new_hidden * through
        d_ifg = (by_cell * jnp.tile(d_new_cell, 3)).astype(dtype)
        d_o = (by_hidden * d_new_hidden).astype(dtype)
        below = (d_ifg @ to_cell + d_o @ to_hidden).astype(d_hidden.dtype)
        if real is not None:
            below = jnp.where(real[:, None], below, d_hidden)
        return (below, d_new_cell * kept), (d_ifg, d_o)

    real = None if mask is None else mask.T
    factors = (d_outputs, by_cell, by_hidden, through, kept, real)
    d_state, d_gates = jax.lax.scan(body, (d_hidden, d_cell), factors, reverse=not reverse)
    d_projected = jnp.concatenate(d_gates, axis=-1)
    d_kernel = jnp.einsum(
        "tbf,tbg->fg",
        before_hidden.astype(dtype),
        d_projected,
        preferred_element_type=recurrent_kernel.dtype,
    )
    return jnp.swapaxes(d_projected, 0, 1), d_kernel, d_state, None


_lstm.defvjp(_forward, _backward)


def _real(values: jax.Array, mask: jax.Array | None) -> jax.Array:
    """Returns values `[time, batch, ...]` with zeros at masked steps, whatever stands there."""
    return values if mask is None else jnp.where(mask.T[..., None], values, 0)


def _before(states: jax.Array, first: jax.Array, reverse: bool) -> jax.Array:
    """Returns the state that each step started from."""
    if reverse:
        return jnp.concatenate([states[1:], first[None]])
    return jnp.concatenate([first[None], states[:-1]])
