"""A whole GRU sequence in one launch of a GPU kernel, and its derivative in another."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from rnnjax.kernels.activations import sigmoid
from rnnjax.kernels.masking import zero_masked
from rnnjax.kernels.pallas_tiles import (
    accumulation_dtype,
    launch,
    load_kernel,
    mask_as_int,
    pad_features,
    pad_to_tiles,
    product,
    split_gates,
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
    """Runs `rnnjax.cells.GRUCell`, its reset gate after the product, under the mask rule.

    Tiled as `rnnjax.kernels.pallas_lstm.pallas_lstm_scan` is. Reverse mode only.

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
    return _run(
        projected, recurrent_kernel, recurrent_bias, state, mask, reverse, save_gates=False
    )[0]


def _forward(projected, recurrent_kernel, recurrent_bias, state, mask, reverse):
    result, saved = _run(
        projected, recurrent_kernel, recurrent_bias, state, mask, reverse, save_gates=True
    )
    return result, (recurrent_kernel, recurrent_bias, state, mask, *saved)


def _run(projected, recurrent_kernel, recurrent_bias, state, mask, reverse, save_gates):
    """Returns final state and outputs, and the states and gates for the backward pass."""
    (batch, time, _), features, dtype = projected.shape, recurrent_kernel.shape[0], state.dtype
    first = pad_to_tiles(state)
    state_shape = jax.ShapeDtypeStruct((first.shape[0], time, first.shape[1]), dtype)
    gate_shape = jax.ShapeDtypeStruct(
        (*state_shape.shape[:2], GATES + 1, state_shape.shape[2]), dtype
    )
    last, states, *saved = launch(
        functools.partial(_forward_steps, reverse=reverse),
        [
            load_kernel(recurrent_kernel, GATES, projected.dtype),
            pad_features(split_gates(recurrent_bias, GATES), 1).astype(
                accumulation_dtype(projected.dtype)
            ),
        ],
        [pad_to_tiles(split_gates(projected, GATES)), mask_as_int(mask, projected.shape), first],
        [first, state_shape, *([gate_shape] if save_gates else [])],
    )
    states = states[:batch, :, :features]
    outputs = zero_masked(states, mask)
    return (last[:batch, :features], outputs.astype(projected.dtype)), (states, *saved)


def _forward_steps(kernel, bias, projected, step_mask, first, last, states, *saved, reverse):
    kernels, biases = [[values[..., k, :] for k in range(GATES)] for values in (kernel, bias)]
    dtype, time = states.dtype, states.shape[1]

    def body(step, state):
        t = time - 1 - step if reverse else step
        r, z, s = (product(state, w) + b[None] for w, b in zip(kernels, biases, strict=True))
        r = sigmoid(projected[:, t, 0].astype(r.dtype) + r)
        z = sigmoid(projected[:, t, 1].astype(z.dtype) + z)
        n = jnp.tanh(projected[:, t, 2].astype(s.dtype) + r * s)
        if saved:
            for k, gate in enumerate((r, z, n, s)):
                saved[0][:, t, k] = gate.astype(dtype)
        new = ((1 - z) * n + z * state).astype(dtype)
        state = jnp.where((step_mask[:, t] > 0)[:, None], new, state)
        states[:, t] = state
        return state

    last[...] = jax.lax.fori_loop(0, time, body, first[...])


def _backward(reverse, residuals, cotangents):
    recurrent_kernel, recurrent_bias, state, mask, states, gates = residuals
    grad_state, grad_outputs = cotangents
    (batch, time, features), dtype = grad_outputs.shape, grad_outputs.dtype
    previous, grad_state = previous_states(states, state, reverse), pad_to_tiles(grad_state)
    rows = gates.shape[0], time
    grad_projected, grad_product, grad_state = launch(
        functools.partial(_backward_steps, reverse=reverse),
        [load_kernel(recurrent_kernel, GATES, dtype)],
        [
            pad_to_tiles(grad_outputs),
            mask_as_int(mask, grad_outputs.shape),
            pad_to_tiles(previous),
            gates,
            grad_state,
        ],
        [
            jax.ShapeDtypeStruct((*rows, GATES, gates.shape[-1]), dtype),
            jax.ShapeDtypeStruct((*rows, gates.shape[-1]), dtype),
            grad_state,
        ],
    )
    grad_projected = grad_projected[:batch, ..., :features]
    # r and z take the product as it is, and n under the reset gate.
    grad_products = jnp.concatenate(
        [grad_projected[:, :, :2], grad_product[:batch, :, None, :features]], axis=2
    ).reshape(batch, time, -1)
    grad_kernel = jnp.einsum(
        "btf,btg->fg",
        previous.astype(dtype),
        grad_products,
        preferred_element_type=recurrent_kernel.dtype,
    )
    grad_bias = grad_products.sum((0, 1), accumulation_dtype(dtype)).astype(recurrent_bias.dtype)
    grad_projected = grad_projected.reshape(batch, time, -1)
    return grad_projected, grad_kernel, grad_bias, grad_state[:batch, :features], None


def _backward_steps(
    kernel,
    grad_outputs,
    step_mask,
    previous,
    gates,
    grad_final,
    grad_projected,
    grad_product,
    grad_initial,
    reverse,
):
    kernels = [kernel[:, k] for k in range(GATES)]
    dtype, time = grad_projected.dtype, grad_outputs.shape[1]
    inner = accumulation_dtype(grad_final.dtype)

    def body(step, grad_state):
        t = step if reverse else time - 1 - step
        is_real = (step_mask[:, t] > 0)[:, None]
        r, z, n, s = (gates[:, t, k].astype(inner) for k in range(GATES + 1))
        grad_new = grad_state + grad_outputs[:, t].astype(inner)
        grad_n = grad_new * (1 - z) * (1 - n * n)
        grad_r = grad_n * s * r * (1 - r)
        grad_z = grad_new * (previous[:, t].astype(inner) - n) * z * (1 - z)
        grad_r, grad_z, grad_n, grad_s = (
            jnp.where(is_real, grad_gate, 0).astype(dtype)
            for grad_gate in (grad_r, grad_z, grad_n, grad_n * r)
        )
        for k, grad_gate in enumerate((grad_r, grad_z, grad_n)):
            grad_projected[:, t, k] = grad_gate
        grad_product[:, t] = grad_s
        grad_previous = grad_new * z
        for grad_gate, w in zip((grad_r, grad_z, grad_s), kernels, strict=True):
            grad_previous += product(grad_gate, w, transposed=True)
        return jnp.where(is_real, grad_previous, grad_state)

    grad_initial[...] = jax.lax.fori_loop(0, time, body, grad_final[...].astype(inner)).astype(
        grad_initial.dtype
    )


pallas_gru_scan.defvjp(_forward, _backward)
