"""A whole LSTM sequence in one launch of a GPU kernel, and its derivative in another."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from rnnjax.kernels.activations import sigmoid
from rnnjax.kernels.fused_lstm import Half
from rnnjax.kernels.pallas_tiles import flags, gated, launch, load_kernel, product, tiled, wide
from rnnjax.kernels.time_scan import previous_states

GATES = 4


def pallas_lstm_scan(
    projected: Float[Array, "batch time gates"],
    recurrent_kernel: Float[Array, "features gates"],
    state: Half,
    mask: Bool[Array, "batch time"] | None,
    reverse: bool,
) -> tuple[Half, Float[Array, "batch time features"]]:
    """Runs `rnnjax.cells.LSTMCell` over time, under the mask law, as `fused_lstm` does.

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
    return _run(projected, recurrent_kernel, state, mask, reverse, keep=False)[0]


def _forward(projected, recurrent_kernel, state, mask, reverse):
    result, (hidden, *kept) = _run(projected, recurrent_kernel, state, mask, reverse, keep=True)
    return result, (recurrent_kernel, state, mask, hidden, *kept)


def _run(projected, recurrent_kernel, state, mask, reverse, keep):
    """Returns final state and outputs, and the hidden states and what the backward pass needs."""
    (batch, time, _), features, dtype = projected.shape, recurrent_kernel.shape[0], state[0].dtype
    hidden, cell = map(tiled, state)
    steps = jax.ShapeDtypeStruct((hidden.shape[0], time, hidden.shape[1]), dtype)
    of_gates = jax.ShapeDtypeStruct((*steps.shape[:2], GATES, steps.shape[2]), dtype)
    last_hidden, last_cell, hidden, *kept = launch(
        functools.partial(_forward_steps, reverse=reverse),
        [load_kernel(recurrent_kernel, GATES, projected.dtype)],
        [tiled(gated(projected, GATES)), flags(mask, projected.shape), hidden, cell],
        [hidden, cell, steps, *([steps, of_gates] if keep else [])],
    )
    hidden = hidden[:batch, :, :features]
    outputs = hidden if mask is None else jnp.where(mask[..., None], hidden, 0)
    final = last_hidden[:batch, :features], last_cell[:batch, :features]
    return (final, outputs.astype(projected.dtype)), (hidden, *kept)


def _forward_steps(
    kernel, projected, real, hidden, cell, last_hidden, last_cell, hiddens, *kept, reverse
):
    kernels = [kernel[:, gate] for gate in range(GATES)]
    dtype, time = hiddens.dtype, hiddens.shape[1]

    def body(step, state):
        hidden, cell = state
        at = time - 1 - step if reverse else step
        z = [projected[:, at, k] + product(hidden, each) for k, each in enumerate(kernels)]
        i, f, g, o = sigmoid(z[0]), sigmoid(z[1]), jnp.tanh(z[2]), sigmoid(z[3])
        new_cell = f * cell + i * g
        new_hidden = o * jnp.tanh(new_cell)
        if kept:
            befores, gates = kept
            befores[:, at] = cell
            for k, gate in enumerate((i, f, g, o)):
                gates[:, at, k] = gate.astype(dtype)
        now = (real[:, at] > 0)[:, None]
        hidden = jnp.where(now, new_hidden.astype(dtype), hidden)
        cell = jnp.where(now, new_cell.astype(dtype), cell)
        hiddens[:, at] = hidden
        return hidden, cell

    last_hidden[...], last_cell[...] = jax.lax.fori_loop(0, time, body, (hidden[...], cell[...]))


def _backward(reverse, saved, cotangents):
    recurrent_kernel, state, mask, hidden, before_cells, gates = saved
    (d_hidden, d_cell), d_outputs = cotangents
    batch, _, features = d_outputs.shape
    d_state = tiled(d_hidden), tiled(d_cell)
    d_projected, *d_state = launch(
        functools.partial(_backward_steps, reverse=reverse),
        [load_kernel(recurrent_kernel, GATES, d_outputs.dtype)],
        [tiled(d_outputs), flags(mask, d_outputs.shape), before_cells, gates, *d_state],
        [jax.ShapeDtypeStruct(gates.shape, d_outputs.dtype), *d_state],
    )
    d_projected = d_projected[:batch, ..., :features]
    d_kernel = jnp.einsum(
        "btf,btkg->fkg",
        previous_states(hidden, state[0], reverse).astype(d_projected.dtype),
        d_projected,
        preferred_element_type=recurrent_kernel.dtype,
    )
    return (
        d_projected.reshape(*d_outputs.shape[:2], -1),
        d_kernel.reshape(recurrent_kernel.shape),
        tuple(each[:batch, :features] for each in d_state),
        None,
    )


def _backward_steps(
    kernel,
    d_outputs,
    real,
    before_cells,
    gates,
    d_hidden,
    d_cell,
    d_projected,
    d_first_hidden,
    d_first_cell,
    reverse,
):
    kernels = [kernel[:, gate] for gate in range(GATES)]
    dtype, time = d_projected.dtype, d_outputs.shape[1]
    inner = wide(d_hidden.dtype)

    def body(step, d_state):
        d_hidden, d_cell = d_state
        at = step if reverse else time - 1 - step
        now = (real[:, at] > 0)[:, None]
        i, f, g, o = (gates[:, at, k].astype(inner) for k in range(GATES))
        before_cell = before_cells[:, at].astype(inner)
        shown = jnp.tanh(f * before_cell + i * g)
        d_new = d_hidden + d_outputs[:, at]
        d_new_cell = d_cell + d_new * o * (1 - shown * shown)
        d_gates = (
            d_new_cell * g * i * (1 - i),
            d_new_cell * before_cell * f * (1 - f),
            d_new_cell * i * (1 - g * g),
            d_new * shown * o * (1 - o),
        )
        below = jnp.zeros_like(d_hidden)
        for k, (d_gate, each) in enumerate(zip(d_gates, kernels, strict=True)):
            d_gate = jnp.where(now, d_gate, 0).astype(dtype)
            d_projected[:, at, k] = d_gate
            below += product(d_gate, each, of_columns=True)
        return jnp.where(now, below, d_hidden), jnp.where(now, d_new_cell * f, d_cell)

    d_state = d_hidden[...].astype(inner), d_cell[...].astype(inner)
    d_hidden, d_cell = jax.lax.fori_loop(0, time, body, d_state)
    d_first_hidden[...] = d_hidden.astype(d_first_hidden.dtype)
    d_first_cell[...] = d_cell.astype(d_first_cell.dtype)


_lstm.defvjp(_forward, _backward)
