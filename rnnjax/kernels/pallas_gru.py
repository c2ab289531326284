"""A whole GRU sequence in one launch of a GPU kernel, and its derivative in another."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from rnnjax.kernels.activations import sigmoid
from rnnjax.kernels.pallas_tiles import (
    flags,
    gated,
    launch,
    load_kernel,
    product,
    tiled,
    wide,
    widened,
)
from rnnjax.kernels.time_scan import previous_states

GATES = 3


@functools.partial(jax.custom_vjp, nondiff_argnums=(5,))
def pallas_gru_scan(
    projected: Float[Array, "batch time gates"],
    recurrent_kernel: Float[Array, "features gates"],
    recurrent_bias: Float[Array, " gates"],
    state: Float[Array, "batch features"],
    mask: Bool[Array, "batch time"] | None,
    reverse: bool,
) -> tuple[Float[Array, "batch features"], Float[Array, "batch time features"]]:
    """Runs `rnnjax.cells.GRUCell`, its reset gate after the product, under the mask law.

    It is made as `rnnjax.kernels.pallas_lstm.pallas_lstm_scan` is. Reverse mode only.

    Args:
      projected: the inputs' part of the gates r, z, n, `gates = 3 * features`. Its dtype is that of
        the products, which are summed in float32.
      recurrent_kernel: the three recurrent kernels side by side.
      recurrent_bias: the biases beside the recurrent products, that of n under the reset gate.
      state: before the first step. Its dtype is that of the states.
      mask: True where a step is real; None if all are.
      reverse: from the last step to the first.

    Returns:
      The state after the last step, and the states, zero at masked steps, in the dtype of
      `projected`.

    Raises:
      InputError: more than 64 features in float32, 128 in bfloat16: the recurrent kernel does not
        stay on the chip.
    """
    return _run(projected, recurrent_kernel, recurrent_bias, state, mask, reverse, keep=False)[0]


def _forward(projected, recurrent_kernel, recurrent_bias, state, mask, reverse):
    result, kept = _run(
        projected, recurrent_kernel, recurrent_bias, state, mask, reverse, keep=True
    )
    return result, (recurrent_kernel, recurrent_bias, state, mask, *kept)


def _run(projected, recurrent_kernel, recurrent_bias, state, mask, reverse, keep):
    """Returns final state and outputs, and the states and what the backward pass needs."""
    (batch, time, _), features, dtype = projected.shape, recurrent_kernel.shape[0], state.dtype
    first = tiled(state)
    steps = jax.ShapeDtypeStruct((first.shape[0], time, first.shape[1]), dtype)
    of_gates = jax.ShapeDtypeStruct((*steps.shape[:2], GATES + 1, steps.shape[2]), dtype)
    last, states, *kept = launch(
        functools.partial(_forward_steps, reverse=reverse),
        [
            load_kernel(recurrent_kernel, GATES, projected.dtype),
            widened(gated(recurrent_bias, GATES), 1).astype(wide(projected.dtype)),
        ],
        [tiled(gated(projected, GATES)), flags(mask, projected.shape), first],
        [first, steps, *([of_gates] if keep else [])],
    )
    states = states[:batch, :, :features]
    outputs = states if mask is None else jnp.where(mask[..., None], states, 0)
    return (last[:batch, :features], outputs.astype(projected.dtype)), (states, *kept)


def _forward_steps(kernel, bias, projected, real, first, last, states, *kept, reverse):
    kernels, biases = [[each[..., k, :] for k in range(GATES)] for each in (kernel, bias)]
    dtype, time = states.dtype, states.shape[1]

    def body(step, state):
        at = time - 1 - step if reverse else step
        r, z, s = (product(state, w) + b[None] for w, b in zip(kernels, biases, strict=True))
        r = sigmoid(projected[:, at, 0] + r)
        z = sigmoid(projected[:, at, 1] + z)
        n = jnp.tanh(projected[:, at, 2] + r * s)
        if kept:
            for k, gate in enumerate((r, z, n, s)):
                kept[0][:, at, k] = gate.astype(dtype)
        new = ((1 - z) * n + z * state).astype(dtype)
        state = jnp.where((real[:, at] > 0)[:, None], new, state)
        states[:, at] = state
        return state

    last[...] = jax.lax.fori_loop(0, time, body, first[...])


def _backward(reverse, saved, cotangents):
    recurrent_kernel, recurrent_bias, state, mask, states, gates = saved
    d_state, d_outputs = cotangents
    (batch, time, features), dtype = d_outputs.shape, d_outputs.dtype
    befores, d_state = previous_states(states, state, reverse), tiled(d_state)
    rows = gates.shape[0], time
    d_projected, d_product, d_state = launch(
        functools.partial(_backward_steps, reverse=reverse),
        [load_kernel(recurrent_kernel, GATES, dtype)],
        [tiled(d_outputs), flags(mask, d_outputs.shape), tiled(befores), gates, d_state],
        [
            jax.ShapeDtypeStruct((*rows, GATES, gates.shape[-1]), dtype),
            jax.ShapeDtypeStruct((*rows, gates.shape[-1]), dtype),
            d_state,
        ],
    )
    d_projected = d_projected[:batch, ..., :features]
    # r and z take the product as it is, and n under the reset gate.
    d_products = jnp.concatenate(
        [d_projected[:, :, :2], d_product[:batch, :, None, :features]], axis=2
    ).reshape(batch, time, -1)
    d_kernel = jnp.einsum(
        "btf,btg->fg",
        befores.astype(dtype),
        d_products,
        preferred_element_type=recurrent_kernel.dtype,
    )
    d_bias = d_products.sum((0, 1), wide(dtype)).astype(recurrent_bias.dtype)
    d_projected = d_projected.reshape(batch, time, -1)
    return d_projected, d_kernel, d_bias, d_state[:batch, :features], None


def _backward_steps(
    kernel, d_outputs, real, befores, gates, d_last, d_projected, d_product, d_first, reverse
):
    kernels = [kernel[:, k] for k in range(GATES)]
    dtype, time = d_projected.dtype, d_outputs.shape[1]
    inner = wide(d_last.dtype)

    def body(step, d_state):
        at = step if reverse else time - 1 - step
        now = (real[:, at] > 0)[:, None]
        r, z, n, s = (gates[:, at, k].astype(inner) for k in range(GATES + 1))
        d_new = d_state + d_outputs[:, at]
        d_n = d_new * (1 - z) * (1 - n * n)
        d_r = d_n * s * r * (1 - r)
        d_z = d_new * (befores[:, at] - n) * z * (1 - z)
        d_r, d_z, d_n, d_s = (
            jnp.where(now, each, 0).astype(dtype) for each in (d_r, d_z, d_n, d_n * r)
        )
        for k, each in enumerate((d_r, d_z, d_n)):
            d_projected[:, at, k] = each
        d_product[:, at] = d_s
        below = d_new * z
        for each, w in zip((d_r, d_z, d_s), kernels, strict=True):
            below += product(each, w, of_columns=True)
        return jnp.where(now, below, d_state)

    d_first[...] = jax.lax.fori_loop(0, time, body, d_last[...].astype(inner)).astype(d_first.dtype)


pallas_gru_scan.defvjp(_forward, _backward)
