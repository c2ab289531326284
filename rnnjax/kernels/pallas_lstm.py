"""A whole LSTM sequence in one launch of a GPU kernel, and its derivative in another."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from rnnjax.kernels.activations import sigmoid
from rnnjax.kernels.lstm_sequence import Half
from rnnjax.kernels.masking import zero_masked
from rnnjax.kernels.pallas_tiles import (
    accumulation_dtype,
    launch,
    load_kernel,
    mask_as_int,
    pad_to_tiles,
    product,
    split_gates,
)
from rnnjax.kernels.time_scan import previous_states

GATES = 4


def pallas_lstm_scan(
    projected: Float[Array, "batch time gates"],
    recurrent_kernel: Float[Array, "features gates"],
    state: Half,
    mask: Bool[Array, "batch time"] | None,
    reverse: bool,
) -> tuple[Half, Float[Array, "batch time features"]]:
    """Runs `rnnjax.cells.LSTMCell` over time, under the mask rule, as `fused_lstm` does.

    A tile of the batch walks through time by itself, with the recurrent kernel and its state on the
    chip. The forward pass keeps the activated gates and the cell states; the backward pass walks
    back in the same way, and the gradient of the recurrent kernel is one product after it. Products
    are summed in float32. Reverse mode only.

    Args:
      projected: as there.
      recurrent_kernel: as there.
      state: as there.
      mask: as there.
      reverse: as there.

    Returns:
      As there.

    Raises:
      InputError: more than 64 features in float32, 128 in bfloat16: the recurrent kernel does not
        stay on the chip.
    """
    result: Any = _lstm(projected, recurrent_kernel, tuple(state), mask, reverse)
    return result


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def _lstm(projected, recurrent_kernel, state, mask, reverse):
    return _run(projected, recurrent_kernel, state, mask, reverse, save_gates=False)[0]


def _forward(projected, recurrent_kernel, state, mask, reverse):
    result, (hidden, *saved) = _run(
        projected, recurrent_kernel, state, mask, reverse, save_gates=True
    )
    return result, (recurrent_kernel, state, mask, hidden, *saved)


def _run(projected, recurrent_kernel, state, mask, reverse, save_gates):
    """Returns final state and outputs, and hidden states, cell states and gates."""
    (batch, time, _), features, dtype = projected.shape, recurrent_kernel.shape[0], state[0].dtype
    hidden, cell = map(pad_to_tiles, state)
    state_shape = jax.ShapeDtypeStruct((hidden.shape[0], time, hidden.shape[1]), dtype)
    gate_shape = jax.ShapeDtypeStruct((*state_shape.shape[:2], GATES, state_shape.shape[2]), dtype)
    last_hidden, last_cell, hidden, *saved = launch(
        functools.partial(_forward_steps, reverse=reverse),
        [load_kernel(recurrent_kernel, GATES, projected.dtype)],
        [
            pad_to_tiles(split_gates(projected, GATES)),
            mask_as_int(mask, projected.shape),
            hidden,
            cell,
        ],
        [hidden, cell, state_shape, *([state_shape, gate_shape] if save_gates else [])],
    )
    hidden = hidden[:batch, :, :features]
    outputs = zero_masked(hidden, mask)
    final = last_hidden[:batch, :features], last_cell[:batch, :features]
    return (final, outputs.astype(projected.dtype)), (hidden, *saved)


def _forward_steps(
    kernel, projected, step_mask, hidden, cell, last_hidden, last_cell, hiddens, *saved, reverse
):
    kernels = [kernel[:, gate] for gate in range(GATES)]
    dtype, time = hiddens.dtype, hiddens.shape[1]

    def body(step, state):
        hidden, cell = state
        t = time - 1 - step if reverse else step
        products = [product(hidden, gate_kernel) for gate_kernel in kernels]
        z = [projected[:, t, k].astype(r.dtype) + r for k, r in enumerate(products)]
        i, f, g, o = sigmoid(z[0]), sigmoid(z[1]), jnp.tanh(z[2]), sigmoid(z[3])
        new_cell = f * cell + i * g
        new_hidden = o * jnp.tanh(new_cell)
        if saved:
            previous_cells, gates = saved
            previous_cells[:, t] = cell
            for k, gate in enumerate((i, f, g, o)):
                gates[:, t, k] = gate.astype(dtype)
        is_real = (step_mask[:, t] > 0)[:, None]
        hidden = jnp.where(is_real, new_hidden.astype(dtype), hidden)
        cell = jnp.where(is_real, new_cell.astype(dtype), cell)
        hiddens[:, t] = hidden
        return hidden, cell

    last_hidden[...], last_cell[...] = jax.lax.fori_loop(0, time, body, (hidden[...], cell[...]))


def _backward(reverse, residuals, cotangents):
    recurrent_kernel, state, mask, hidden, previous_cells, gates = residuals
    (grad_hidden, grad_cell), grad_outputs = cotangents
    batch, _, features = grad_outputs.shape
    grad_state = pad_to_tiles(grad_hidden), pad_to_tiles(grad_cell)
    grad_projected, *grad_state = launch(
        functools.partial(_backward_steps, reverse=reverse),
        [load_kernel(recurrent_kernel, GATES, grad_outputs.dtype)],
        [
            pad_to_tiles(grad_outputs),
            mask_as_int(mask, grad_outputs.shape),
            previous_cells,
            gates,
            *grad_state,
        ],
        [jax.ShapeDtypeStruct(gates.shape, grad_outputs.dtype), *grad_state],
    )
    grad_projected = grad_projected[:batch, ..., :features]
    grad_kernel = jnp.einsum(
        "btf,btkg->fkg",
        previous_states(hidden, state[0], reverse).astype(grad_projected.dtype),
        grad_projected,
        preferred_element_type=recurrent_kernel.dtype,
    )
    return (
        grad_projected.reshape(*grad_outputs.shape[:2], -1),
        grad_kernel.reshape(recurrent_kernel.shape),
        tuple(grad[:batch, :features] for grad in grad_state),
        None,
    )


def _backward_steps(
    kernel,
    grad_outputs,
    step_mask,
    previous_cells,
    gates,
    grad_hidden,
    grad_cell,
    grad_projected,
    grad_first_hidden,
    grad_first_cell,
    reverse,
):
    kernels = [kernel[:, gate] for gate in range(GATES)]
    dtype, time = grad_projected.dtype, grad_outputs.shape[1]
    inner = accumulation_dtype(grad_hidden.dtype)

    def body(step, grad_state):
        grad_hidden, grad_cell = grad_state
        t = step if reverse else time - 1 - step
        is_real = (step_mask[:, t] > 0)[:, None]
        i, f, g, o = (gates[:, t, k].astype(inner) for k in range(GATES))
        previous_cell = previous_cells[:, t].astype(inner)
        activated = jnp.tanh(f * previous_cell + i * g)
        grad_new = grad_hidden + grad_outputs[:, t].astype(inner)
        grad_new_cell = grad_cell + grad_new * o * (1 - activated * activated)
        grad_gates = (
            grad_new_cell * g * i * (1 - i),
            grad_new_cell * previous_cell * f * (1 - f),
            grad_new_cell * i * (1 - g * g),
            grad_new * activated * o * (1 - o),
        )
        grad_previous = jnp.zeros_like(grad_hidden)
        for k, (grad_gate, gate_kernel) in enumerate(zip(grad_gates, kernels, strict=True)):
            grad_gate = jnp.where(is_real, grad_gate, 0).astype(dtype)
            grad_projected[:, t, k] = grad_gate
            grad_previous += product(grad_gate, gate_kernel, transposed=True)
        return jnp.where(is_real, grad_previous, grad_hidden), jnp.where(
            is_real, grad_new_cell * f, grad_cell
        )

    grad_state = grad_hidden[...].astype(inner), grad_cell[...].astype(inner)
    grad_hidden, grad_cell = jax.lax.fori_loop(0, time, body, grad_state)
    grad_first_hidden[...] = grad_hidden.astype(grad_first_hidden.dtype)
    grad_first_cell[...] = grad_cell.astype(grad_first_cell.dtype)


_lstm.defvjp(_forward, _backward)
