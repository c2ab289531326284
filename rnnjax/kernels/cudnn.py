"""A whole LSTM sequence by cuDNN, NVIDIA's library, through `jax.experimental.rnn`."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import rnn
from jaxtyping import Array, Bool, Float, Int

from rnnjax.errors import InputError
from rnnjax.kernels import fused_lstm as hand_written
from rnnjax.kernels.broadcasting import match_rank
from rnnjax.kernels.fused_lstm import Half


def is_available() -> bool:
    """Returns whether JAX computes on a GPU here."""
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
    """Runs `rnnjax.cells.LSTMCell` over time, under the mask law.

    cuDNN reads rows that begin with their real steps, and knows their lengths. Whether a mask is
    of that kind is only known when it runs: where it is not, `rnnjax.kernels.fused_lstm` computes
    the same. For `reverse`, the real steps of each row are turned round before, and their outputs
    after. Reverse mode only.

    Args:
      inputs: of all steps.
      kernel: the four input kernels side by side, i, f, g, o, `gates = 4 * features`.
      recurrent_kernel: the four recurrent kernels side by side.
      bias: the four biases.
      state: hidden and cell state before the first step.
      mask: True where a step is real; None if all are.
      reverse: from the last step to the first.

    Returns:
      The state after the last step, and the hidden states, zero at masked steps.

    Raises:
      InputError: there is no GPU, or something is not in float32, the one dtype that JAX's cuDNN
        has.
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
    given = inputs, kernel, recurrent_kernel, bias, (state[0], state[1])
    if mask is None:
        lengths = jnp.full(inputs.shape[0], inputs.shape[1], jnp.int32)
        return _by_cudnn(given, lengths, reverse)
    lengths = mask.sum(axis=1, dtype=jnp.int32)
    real = jnp.arange(inputs.shape[1])[None] < lengths[:, None]
    return jax.lax.cond(
        (mask == real).all(),
        lambda given: _by_cudnn(given, lengths, reverse),
        # It saves nothing, so that the usual case does not make room for what this one needs.
        jax.checkpoint(lambda given: _by_hand(given, mask, reverse)),
        given,
    )


def _by_hand(given, mask, reverse):
    inputs, kernel, recurrent_kernel, bias, state = given
    projected = jnp.where(mask[..., None], inputs, 0) @ kernel
    projected = projected + match_rank(bias, projected)
    return hand_written(projected, recurrent_kernel, state, mask, reverse)


def _by_cudnn(given, lengths, reverse):
    inputs, kernel, recurrent_kernel, bias, state = given
    real = (jnp.arange(inputs.shape[1])[None] < lengths[:, None])[..., None]
    inputs = jnp.where(real, inputs, 0)
    # cuDNN has two biases, of which ours is one, and the kernels [outputs, inputs].
    weights = (kernel.T, recurrent_kernel.T, bias, jnp.zeros_like(bias))
    results: Any = rnn.lstm(
        _turned(inputs, lengths) if reverse else inputs,
        *(part[None] for part in state),
        jnp.concatenate([each.reshape(-1) for each in weights]),
        jnp.maximum(lengths, 1),  # A row without a step is none to cuDNN.
        inputs.shape[-1],
        recurrent_kernel.shape[0],
        1,
        0.0,
        False,
    )
    outputs, hidden, cell = results
    outputs = jnp.where(real, outputs, 0)
    some = lengths[:, None] > 0
    final = jnp.where(some, hidden[0], state[0]), jnp.where(some, cell[0], state[1])
    return final, _turned(outputs, lengths) if reverse else outputs


def _turned(
    values: Float[Array, "batch time features"], lengths: Int[Array, " batch"]
) -> Float[Array, "batch time features"]:
    """Returns the steps of each row, up to its length, from the last to the first."""
    step = jnp.arange(values.shape[1])[None]
    index = jnp.where(step < lengths[:, None], lengths[:, None] - 1 - step, step)
    return jnp.take_along_axis(values, index[..., None], axis=1)
