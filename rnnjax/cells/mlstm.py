"""The LSTM with exponential gates and a matrix memory."""

import math
from typing import Any, ClassVar, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from rnnjax.cells.base import Initializer
from rnnjax.cells.matrix_cell import MatrixCell, merge_heads, split_heads
from rnnjax.kernels import sigmoid
from rnnjax.kernels.matrix_recurrence import MatrixInputs, MatrixState

LARGEST_STABILIZER = 40.0
"""Beyond it the lower bound of the normaliser stays, whose square divides the gradient."""


class MLSTMState(NamedTuple):
    """The state of an mLSTM; memory and normalizer are to be multiplied by exp(stabilizer)."""

    memory: Float[Array, "*batch heads keys values"]
    normalizer: Float[Array, "*batch heads keys"]
    stabilizer: Float[Array, "*batch heads"]


class MLSTMCell(MatrixCell):
    r"""Long short-term memory with exponential input gates, whose memory is a matrix.

    .. math::
        q_t, k_t, v_t &= W_q x_t + b_q, (W_k x_t + b_k) / \sqrt{n}, W_v x_t + b_v \\
        i_t &= \exp(w_i^\top x_t + b_i) \\
        f_t &= \sigma(w_f^\top x_t + b_f) \\
        o_t &= \sigma(W_o x_t + b_o) \\
        C_t &= f_t C_{t-1} + i_t k_t v_t^\top \\
        n_t &= f_t n_{t-1} + i_t k_t \\
        h_t &= o_t \odot \frac{C_t^\top q_t}{\max(|n_t^\top q_t|, 1)}

    for each head, with n = key_features or features // heads; i and f are a number for each. The
    output is the h of all heads side by side, which is no part of the state. Exponentials may
    overflow, so C and n are kept divided by :math:`\exp(m_t)`, which leaves h as it is where 1 in
    the maximum is divided as well:

    .. math::
        m_t &= \max(\log f_t + m_{t-1}, \log i_t, 0)

    The kernels of q, k, v, i, f and o stand side by side. Parameters:
    (inputs + 1) * (2 * heads * (key_features or features // heads) + 2 * heads
    + (1 + output_gate) * features).

    State: `MLSTMState(memory, normalizer, stabilizer)`, [batch, heads, keys, values],
    [batch, heads, keys] and [batch, heads], of `param_dtype`, zeros at first. Inputs:
    [batch, inputs]. Outputs: [batch, features].

    Source: Beck et al., xLSTM: extended long short-term memory, NeurIPS 2024, arXiv:2405.04517.
    The zero in the maximum of m is not in the paper: h divides by 1 at least, so that smaller
    values need no magnifying. Of the paper's forget gates this is the sigmoid. The convolution and
    the norm of the heads are layers around the cell.

    Attributes:
      output_gate: whether there is o; otherwise it is 1.
      kernel_init: of the kernels as one matrix.
      bias_init: of all biases as one vector. None: from 3 to 6 over the heads for the forget gate,
        zero elsewhere.
    """

    zoneout_parts: ClassVar[tuple[str, ...]] = ()  # all count by one stabilizer

    output_gate: bool = True
    kernel_init: Initializer = nn.initializers.lecun_normal()
    bias_init: Initializer | None = None

    def setup(self):
        self.input = self.dense(
            sum(self._sizes()),
            kernel_init=self.kernel_init,
            bias_init=self.bias_init or self._forget_bias,
        )

    def initial_state(self, input_shape):
        """Returns zeros for all parts."""
        memory = super().initial_state(input_shape)
        return MLSTMState(memory, jnp.zeros_like(memory[..., 0]), jnp.zeros_like(memory[..., 0, 0]))

    def project(self, inputs):
        """Returns q, k, v and the preactivations of i, f and o, side by side."""
        return self.input(inputs)

    def coefficients(self, projected):
        """Returns q, k, v with a column of ones for the normaliser, log f and log i."""
        parts = jnp.split(
            projected.astype(self.param_dtype), np.cumsum(self._sizes())[:-1], axis=-1
        )
        q, k, v = (split_heads(vectors, self.heads) for vectors in parts[:3])
        self.gate("forget gate", sigmoid(parts[4]))
        return MatrixInputs(
            q,
            k / math.sqrt(self.key_size),
            jnp.concatenate([v, jnp.ones_like(v[..., :1])], axis=-1),
            jax.nn.log_sigmoid(parts[4]),
            log_gain=parts[3],
        )

    def read(self, products, projected: Any, stabilizer=None):
        """Returns the products over the normaliser, through the output gate."""
        assert stabilizer is not None
        lowest = jnp.exp(-jnp.minimum(stabilizer, LARGEST_STABILIZER))[..., None]
        normalizer = jnp.maximum(abs(products[..., -1:]), lowest)
        hidden = merge_heads(products[..., :-1] / normalizer)
        if self.output_gate:
            gate = sigmoid(projected[..., -self.features :].astype(hidden.dtype))
            hidden = self.gate("output gate", gate) * hidden
        return hidden.astype(projected.dtype)

    def pack(self, state):
        """Returns the memory with the normaliser as its last column, and the stabilizer."""
        matrix = jnp.concatenate([state.memory, state.normalizer[..., None]], axis=-1)
        return MatrixState(matrix, state.stabilizer)

    def unpack(self, state):
        """Returns the three parts."""
        stabilizer = state.stabilizer
        assert stabilizer is not None
        return MLSTMState(state.matrix[..., :-1], state.matrix[..., -1], stabilizer)

    def _sizes(self):
        keys = self.heads * self.key_size
        gate = [self.features] if self.output_gate else []
        return [keys, keys, self.features, self.heads, self.heads, *gate]

    def _forget_bias(self, key, shape, dtype=jnp.float32, out_sharding=None):
        del key, out_sharding
        start = sum(self._sizes()[:4])
        bias = jnp.linspace(3, 6, self.heads, dtype=dtype)
        return jnp.zeros(shape, dtype).at[start : start + self.heads].set(bias)
