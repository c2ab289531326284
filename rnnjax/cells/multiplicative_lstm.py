"""Multiplicative LSTM."""

from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp

from rnnjax.cells.base import GatedCell, Initializer
from rnnjax.cells.biases import gate_bias
from rnnjax.cells.lstm import LSTMState
from rnnjax.kernels import sigmoid


class MultiplicativeLSTMCell(GatedCell):
    r"""Long short-term memory whose recurrent matrix is another one for each input.

    .. math::
        m_t &= (W_{im} x_t) (W_{hm} h_{t-1}) \\
        i_t &= \sigma(W_{ii} x_t + W_{mi} m_t + b_i) \\
        f_t &= \sigma(W_{if} x_t + W_{mf} m_t + b_f) \\
        g_t &= \tanh(W_{ig} x_t + W_{mg} m_t + b_g) \\
        o_t &= \sigma(W_{io} x_t + W_{mo} m_t + b_o) \\
        c_t &= f_t c_{t-1} + i_t d(g_t) \\
        h_t &= o_t \tanh(c_t)

    d is the dropout of `GatedCell`, by default off. The output is h. The four gates stand side by
    side in the order i, f, g, o.

    Parameters: features * (5 * (inputs + features) + 4).

    State: `LSTMState(hidden, cell)`, each [batch, features], of `param_dtype`. Inputs:
    [batch, inputs]. Outputs: [batch, features].

    Source: Krause, Lu, Murray, Renals, Multiplicative LSTM for sequence modelling, 2016,
    arXiv:1609.07959, whose equations are written without biases.

    Attributes:
      kernel_init: of the four input kernels as one matrix, `[inputs, 4 * features]`, and of W_im,
        `[inputs, features]`.
      recurrent_init: of the four kernels of m as one matrix, `[features, 4 * features]`, and of
        W_hm, `[features, features]`.
      bias_init: of the four biases as one vector; by default 1 for the forget gate.
    """

    output_part: ClassVar[str | None] = "hidden"

    kernel_init: Initializer = nn.initializers.xavier_uniform()
    recurrent_init: Initializer = nn.initializers.orthogonal()
    bias_init: Initializer = gate_bias()

    def setup(self):
        features, units = self.features, 4 * self.features
        self.input = self.dense(units, kernel_init=self.kernel_init, bias_init=self.bias_init)
        self.input_factor = self.dense(features, kernel_init=self.kernel_init, use_bias=False)
        self.recurrent_kernel = self.param(
            "recurrent_kernel", self.recurrent_init, (features, units), self.param_dtype
        )
        self.recurrent_kernel_factor = self.param(
            "recurrent_kernel_factor", self.recurrent_init, (features, features), self.param_dtype
        )

    def initial_state(self, input_shape):
        """Returns zeros for both parts."""
        zeros = super().initial_state(input_shape)
        return LSTMState(hidden=zeros, cell=zeros)

    def project(self, inputs):
        """Returns the inputs' part of the gates, [..., 4 * features], and of m."""
        return self.input(inputs), self.input_factor(inputs)

    def step(self, state, projected):
        """Returns the next state and its hidden part."""
        projected, factor = projected
        m = factor * self.recurrent_product(state.hidden, self.recurrent_kernel_factor)
        gates = projected + self.recurrent_product(m, self.recurrent_kernel)
        i, f, g, o = jnp.split(gates.astype(state.cell.dtype), 4, axis=-1)
        remembered = self.gate("forget gate", sigmoid(f)) * state.cell
        cell = remembered + self.gate("input gate", sigmoid(i)) * self.dropped(jnp.tanh(g))
        hidden = self.gate("output gate", sigmoid(o)) * jnp.tanh(cell)
        return LSTMState(hidden, cell), hidden.astype(projected.dtype)
