"""JANET: an LSTM that has nothing but its forget gate."""

from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp

from rnnjax.cells.base import GatedCell, Initializer
from rnnjax.cells.biases import gate_bias
from rnnjax.kernels import sigmoid


class JANETCell(GatedCell):
    r"""Just another network: the LSTM's forget gate, which admits as much as it forgets, and
    slightly more.

    .. math::
        f_t &= W_{if} x_t + W_{hf} h_{t-1} + b_f \\
        g_t &= \tanh(W_{ig} x_t + W_{hg} h_{t-1} + b_g) \\
        h_t &= \sigma(f_t) h_{t-1} + (1 - \sigma(f_t - \beta)) d(g_t)

    d is the dropout of `GatedCell`, by default off. The output is h. The two stand side by side in
    the order f, g.

    Parameters: 2 * features * (inputs + features + 1).

    State: [batch, features], of `param_dtype`; |h| may pass 1, which with `beta=0` it cannot.
    Inputs: [batch, inputs]. Outputs: [batch, features].

    Source: van der Westhuizen, Lasenby, The unreasonable effectiveness of the forget gate, 2018,
    arXiv:1804.04849. The paper begins with chrono biases, as `chrono(JANETCell(64), 784)` does.

    Attributes:
      beta: how much more is let in than forgotten; 1 in the paper.
      kernel_init: of the two input kernels as one matrix, `[inputs, 2 * features]`.
      recurrent_init: of the two recurrent kernels as one matrix, `[features, 2 * features]`.
      bias_init: of the two biases as one vector; by default 1 for f.
    """

    output_part: ClassVar[str | None] = ""

    beta: float = 1.0
    kernel_init: Initializer = nn.initializers.xavier_uniform()
    recurrent_init: Initializer = nn.initializers.orthogonal()
    bias_init: Initializer = gate_bias(gate=0, gates=2)

    def setup(self):
        units = 2 * self.features
        self.input = self.dense(units, kernel_init=self.kernel_init, bias_init=self.bias_init)
        self.recurrent_kernel = self.param(
            "recurrent_kernel", self.recurrent_init, (self.features, units), self.param_dtype
        )

    def project(self, inputs):
        """Returns the inputs' part of f and g, [..., 2 * features]."""
        return self.input(inputs)

    def step(self, state, projected):
        """Returns the next state twice: it is the output as well."""
        gates = projected + self.recurrent_product(state, self.recurrent_kernel)
        f, g = jnp.split(gates.astype(state.dtype), 2, axis=-1)
        remembered = self.gate("forget gate", sigmoid(f)) * state
        let_in = self.gate("input gate", 1 - sigmoid(f - self.beta))
        new = remembered + let_in * self.dropped(jnp.tanh(g))
        return new, new.astype(projected.dtype)
