"""A whole LSTM sequence by cuDNN, NVIDIA's library, through `jax.experimental.rnn`."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import rnn
from jaxtyping import Array, Bool, Float, Int

from rnnjax.errors import InputError
from rnnjax.kernels import fused_lstm
from rnnjax.kernels.broadcasting import match_rank
from rnnjax.kernels.lstm_sequence import Half
from rnnjax.kernels.masking import zero_masked


def is_available() -> bool:
    """Returns whether JAX's default backend is a GPU."""
    return jax.default_backend() == "gpu"


def cudnn_lstm(
    inputs: Float[Array, "batch time inputs"],
    kernel: Float[Array, "inputs gates"],
    recurrent_kernel: Float[Array, "features gates"],
    bias: Float[Array, " gates"],
    state: Half,
    mask: Bool[Array, "batch time"] | None,
    reverse: bool,
) -> tuple[Half, Float[Array, "batch time features"]]:
    """Runs `rnnjax.cells.LSTMCell` over time, under the mask rule.

    cuDNN takes lengths, that is right-padded rows. Whether a mask is right-padded is known at run
    time only: where it is not, `rnnjax.kernels.fused_lstm` computes the same. For `reverse`, the
    real steps of each row are reversed before the call, and their outputs after it. Reverse mode
    only.

    Args:
      inputs: all steps.
      kernel: the four input kernels side by side, i, f, g, o, `gates = 4 * features`.
      recurrent_kernel: the four recurrent kernels side by side.
      bias: the four biases.
      state: hidden and cell state before the first step.
      mask: True where a step is real; None if all are.
      reverse: from the last step to the first.

    Returns:
      The state after the last step, and the hidden states, zero at masked steps.

    Raises:
      InputError: there is no GPU, or an array is not float32, the one dtype of JAX's cuDNN LSTM.
    """
    if not is_available():
        raise InputError(
            f"engine 'cudnn': given a machine where JAX computes on a {jax.default_backend()}, "
            "expected an NVIDIA GPU and jax[cuda12]; take another engine, or 'auto'"
        )
    for name, array in (("inputs", inputs), ("state", state[0]), ("kernel", recurrent_kernel)):
        if array.dtype != jnp.float32:
            raise InputError(
                f"engine 'cudnn': given {name} in {array.dtype}, expected float32; take another "
                "engine, or 'auto'"
            )
    operands = inputs, kernel, recurrent_kernel, bias, (state[0], state[1])
    if mask is None:
        lengths = jnp.full(inputs.shape[0], inputs.shape[1], jnp.int32)
        return _run_cudnn(operands, lengths, reverse)
    lengths = mask.sum(axis=1, dtype=jnp.int32)
    right_padded = jnp.arange(inputs.shape[1])[None] < lengths[:, None]
    return jax.lax.cond(
        (mask == right_padded).all(),
        lambda operands: _run_cudnn(operands, lengths, reverse),
        # Rematerialised: the usual branch need not reserve memory for this one's residuals.
        jax.checkpoint(lambda operands: _run_fused(operands, mask, reverse)),
        operands,
    )


def _run_fused(operands, mask, reverse):
    inputs, kernel, recurrent_kernel, bias, state = operands
    projected = zero_masked(inputs, mask) @ kernel
    projected = projected + match_rank(bias, projected)
    return fused_lstm(projected, recurrent_kernel, state, mask, reverse)


def _run_cudnn(operands, lengths, reverse):
    inputs, kernel, recurrent_kernel, bias, state = operands
    mask = jnp.arange(inputs.shape[1])[None] < lengths[:, None]
    inputs = zero_masked(inputs, mask)
    # cuDNN has two biases, of which one is zero here, and kernels [outputs, inputs].
    weights = (kernel.T, recurrent_kernel.T, bias, jnp.zeros_like(bias))
    results: Any = rnn.lstm(
        _reverse_rows(inputs, lengths) if reverse else inputs,
        *(part[None] for part in state),
        jnp.concatenate([weight.reshape(-1) for weight in weights]),
        jnp.maximum(lengths, 1),  # cuDNN takes no empty row.
        inputs.shape[-1],
        recurrent_kernel.shape[0],
        1,
        0.0,
        False,
    )
    outputs, hidden, cell = results
    outputs = zero_masked(outputs, mask)
    has_steps = lengths[:, None] > 0
    final = jnp.where(has_steps, hidden[0], state[0]), jnp.where(has_steps, cell[0], state[1])
    return final, _reverse_rows(outputs, lengths) if reverse else outputs


def _reverse_rows(
    values: Float[Array, "batch time features"], lengths: Int[Array, " batch"]
) -> Float[Array, "batch time features"]:
    """Reverses the steps of each row up to its length."""
    step = jnp.arange(values.shape[1])[None]
    index = jnp.where(step < lengths[:, None], lengths[:, None] - 1 - step, step)
    return jnp.take_along_axis(values, index[..., None], axis=1)
