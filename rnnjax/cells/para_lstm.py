"""The LSTM with diagonal recurrent kernels and coupled gates."""

from typing import ClassVar, Literal

import flax.linen as nn
import jax.numpy as jnp

from rnnjax.cells.base import GatedCell, Initializer, symmetric_uniform
from rnnjax.cells.biases import gate_bias
from rnnjax.cells.lstm import LSTMState
from rnnjax.kernels import match_rank, sigmoid


class ParaLSTMCell(GatedCell):
    r"""Long short-term memory with coupled gates, whose units see only their own past.

    .. math::
        f_t &= \sigma(a_f \odot h_{t-1} + W_f x_t + p_f \odot c_{t-1} + b_f) \\
        n_t &= \tanh(a_n \odot h_{t-1} + W_n x_t + b_n) \\
        c_t &= f_t c_{t-1} + (1 - f_t) d(n_t) \\
        o_t &= \sigma(a_o \odot h_{t-1} + W_o x_t + p_o \odot c_t + b_o) \\
        h_t &= o_t \tanh(c_t)

    d is the dropout of `GatedCell`, by default off. The output is h. The Jacobian of a step by the
    state has blocks of 2x2, one for the h and the c of a unit, and zeros elsewhere.

    Parameters: features * (3 * inputs + 8). Kernels, diagonals and biases stand side by side in the
    order f, n, o, the peepholes p in the order f, o.

    State: `LSTMState(hidden, cell)`, each [batch, features], of `param_dtype`. Inputs:
    [batch, inputs]. Outputs: [batch, features].

    Source: Danieli et al., ParaRNN: unlocking parallel training of nonlinear RNNs for large
    language models, 2025, arXiv:2510.21450. The initial values are those of this package's other
    cells; the input kernels are full, not block-diagonal by heads. The block around the paper's
    cell (convolution, gate, normalisation) is not part of it.

    Attributes:
      kernel_init: of the three input kernels as one matrix, `[inputs, 3 * features]`.
      recurrent_init: of the three diagonals as one vector, `[3 * features]`.
      peephole_init: of the two peepholes as one vector, `[2 * features]`.
      bias_init: of the three biases as one vector; by default 1 for f.
    """

    output_part: ClassVar[str | None] = "hidden"
    zoneout_parts: ClassVar[tuple[str, ...]] = ("hidden", "cell")
    jacobian: ClassVar[Literal["dense", "blocks"]] = "blocks"

    kernel_init: Initializer = nn.initializers.xavier_uniform()
    recurrent_init: Initializer = symmetric_uniform(1.0)
    peephole_init: Initializer = nn.initializers.zeros
    bias_init: Initializer = gate_bias(gate=0, gates=3)

    def setup(self):
        units = 3 * self.features
        self.input = self.dense(units, kernel_init=self.kernel_init, bias_init=self.bias_init)
        self.recurrent_kernel = self.param(
            "recurrent_kernel", self.recurrent_init, (units,), self.param_dtype
        )
        self.peephole = self.param(
            "peephole", self.peephole_init, (2 * self.features,), self.param_dtype
        )

    def initial_state(self, input_shape):
        """Returns zeros for both parts."""
        zeros = super().initial_state(input_shape)
        return LSTMState(hidden=zeros, cell=zeros)

    def project(self, inputs):
        """Returns the inputs' part of f, n and o, [..., 3 * features]."""
        return self.input(inputs)

    def step(self, state, projected):
        """Returns the next state and its hidden part."""
        h, c = state
        diagonal = match_rank(self.recurrent_kernel, h)
        peephole_f, peephole_o = jnp.split(match_rank(self.peephole, c), 2, axis=-1)
        hidden = diagonal * jnp.concatenate([h, h, h], axis=-1)
        f, n, o = jnp.split(projected.astype(c.dtype) + hidden, 3, axis=-1)
        f = self.gate("forget gate", sigmoid(f + peephole_f * c))
        c = f * c + self.gate("input gate", 1 - f) * self.dropped(jnp.tanh(n))
        h = self.gate("output gate", sigmoid(o + peephole_o * c)) * jnp.tanh(c)
        return LSTMState(h, c), h.astype(projected.dtype)
