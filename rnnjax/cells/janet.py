"""JANET: an LSTM that has nothing but its forget gate."""

from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp

from rnnjax.cells.base import Cell, Initializer
from rnnjax.cells.initializers import chrono
from rnnjax.cells.lstm import forget_bias
from rnnjax.errors import InputError
from rnnjax.kernels import logistic


class JANETCell(Cell):
    r"""Just another network: the LSTM's forget gate, which lets in what it forgets, and a bit more.

    .. math::
        f_t &= W_{if} x_t + W_{hf} h_{t-1} + b_f \\
        g_t &= \tanh(W_{ig} x_t + W_{hg} h_{t-1} + b_g) \\
        h_t &= \sigma(f_t) h_{t-1} + (1 - \sigma(f_t - \beta)) g_t

    The output is h. The two stand side by side in the order f, g.

    Parameters: 2 * features * (inputs + features + 1).

    State: [batch, features], of `param_dtype`; |h| may pass 1, which with `beta=0` it cannot.
    Inputs: [batch, inputs]. Outputs: [batch, features].

    Source: van der Westhuizen, Lasenby, The unreasonable effectiveness of the forget gate, 2018,
    arXiv:1804.04849. The paper begins with chrono biases; here they are asked for by `longest`.

    Attributes:
      beta: how much more is let in than forgotten; 1 in the paper.
      longest: steps of the longest memory that f is to begin with, by `initializers.chrono`; in the
        paper as many as the task has. 0 leaves f to `bias_init`.
      kernel_init: of the two input kernels as one matrix, `[inputs, 2 * features]`.
      recurrent_init: of the two recurrent kernels as one matrix, `[features, 2 * features]`.
      bias_init: of the two biases as one vector, where `longest` is 0; by default 1 for f.
    """

    output_part: ClassVar[str | None] = ""

    beta: float = 1.0
    longest: int = 0
    kernel_init: Initializer = nn.initializers.xavier_uniform()
    recurrent_init: Initializer = nn.initializers.orthogonal()
    bias_init: Initializer = forget_bias(gate=0, gates=2)

    def __post_init__(self):
        if self.longest != 0 and self.longest < 2:
            raise InputError(
                f"longest: given {self.longest!r}, expected at least 2 steps, or 0, which is off"
            )
        super().__post_init__()

    def setup(self):
        units = 2 * self.features
        bias_init = self.bias_init
        if self.longest:
            bias_init = chrono(self.longest, gate=0, gates=2, opposite=None)
        self.input = self.dense(units, kernel_init=self.kernel_init, bias_init=bias_init)
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
        new = logistic(f) * state + (1 - logistic(f - self.beta)) * jnp.tanh(g)
        return new, new.astype(projected.dtype)
