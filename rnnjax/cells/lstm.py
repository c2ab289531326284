"""Long short-term memory."""

from typing import ClassVar, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from rnnjax.cells.base import Cell, Initializer
from rnnjax.kernels import logistic, lstm


class LSTMState(NamedTuple):
    """The state of an LSTM: what it shows and what it keeps."""

    hidden: Float[Array, "*batch features"]
    cell: Float[Array, "*batch features"]


def forget_bias(value: float = 1.0) -> Initializer:
    """Returns an initializer of an LSTM's bias: `value` for the forget gate, zero elsewhere.

    Source: Jozefowicz, Zaremba, Sutskever, An empirical exploration of recurrent network
    architectures, ICML 2015.
    """

    def init(key, shape, dtype=jnp.float32, out_sharding=None):
        del key, out_sharding
        features = shape[0] // 4
        return jnp.zeros(shape, dtype).at[features : 2 * features].set(value)

    return init


class LSTMCell(Cell):
    r"""Long short-term memory with a forget gate.

    .. math::
        i_t &= \sigma(W_{ii} x_t + W_{hi} h_{t-1} + b_i) \\
        f_t &= \sigma(W_{if} x_t + W_{hf} h_{t-1} + b_f) \\
        g_t &= \tanh(W_{ig} x_t + W_{hg} h_{t-1} + b_g) \\
        o_t &= \sigma(W_{io} x_t + W_{ho} h_{t-1} + b_o) \\
        c_t &= f_t c_{t-1} + i_t g_t \\
        h_t &= o_t \tanh(c_t)

    The output is h. Parameters: 4 * features * (inputs + features + 1). The four gates stand side
    by side in the order i, f, g, o, as in Keras and PyTorch; PyTorch has a second bias.

    State: `LSTMState(hidden, cell)`, each [batch, features], of `param_dtype`. Inputs:
    [batch, inputs]. Outputs: [batch, features].

    Source: Hochreiter, Schmidhuber, Long short-term memory, Neural Computation 9 (1997), with the
    forget gate of Gers, Schmidhuber, Cummins, Learning to forget, Neural Computation 12 (2000).

    Attributes:
      kernel_init: of the four input kernels as one matrix, `[inputs, 4 * features]`.
      recurrent_init: of the four recurrent kernels as one matrix, `[features, 4 * features]`.
      bias_init: of the four biases as one vector; by default 1 for the forget gate.
    """

    output_part: ClassVar[str | None] = "hidden"

    kernel_init: Initializer = nn.initializers.xavier_uniform()
    recurrent_init: Initializer = nn.initializers.orthogonal()
    bias_init: Initializer = forget_bias()

    def setup(self):
        self.input = self.dense(
            4 * self.features, kernel_init=self.kernel_init, bias_init=self.bias_init
        )
        self.recurrent_kernel = self.param(
            "recurrent_kernel",
            self.recurrent_init,
            (self.features, 4 * self.features),
            self.param_dtype,
        )

    def initial_state(self, input_shape):
        """Returns zeros for both parts."""
        zeros = super().initial_state(input_shape)
        return LSTMState(hidden=zeros, cell=zeros)

    def project(self, inputs):
        """Returns the inputs' part of the four gates, [..., 4 * features]."""
        return self.input(inputs)

    def step(self, state, projected):
        """Returns the next state and its hidden part."""
        gates = projected + self.recurrent_product(state.hidden, self.recurrent_kernel)
        i, f, g, o = jnp.split(gates.astype(state.cell.dtype), 4, axis=-1)
        cell = logistic(f) * state.cell + logistic(i) * jnp.tanh(g)
        hidden = logistic(o) * jnp.tanh(cell)
        return LSTMState(hidden, cell), hidden.astype(projected.dtype)

    def fused(self, state, projected, mask, reverse):
        """Returns the final state and the outputs of a whole sequence, by `kernels.lstm`."""
        final, outputs = lstm(projected, self.recurrent_kernel, state, mask, reverse)
        return LSTMState(*final), outputs
