"""The GRU with diagonal recurrent kernels."""

from typing import ClassVar, Literal

import flax.linen as nn
import jax.numpy as jnp

from rnnjax.cells.base import GatedCell, Initializer, symmetric_uniform
from rnnjax.kernels import match_rank, sigmoid


class ParaGRUCell(GatedCell):
    r"""Gated recurrent unit whose units see only their own past.

    .. math::
        z_t &= \sigma(a_z \odot h_{t-1} + W_z x_t + b_z) \\
        r_t &= \sigma(a_r \odot h_{t-1} + W_r x_t + b_r) \\
        n_t &= \tanh(a_n \odot (r_t h_{t-1}) + W_n x_t + b_n) \\
        h_t &= (1 - z_t) h_{t-1} + z_t d(n_t)

    d is the dropout of `GatedCell`, by default off. The output is h. The Jacobian of a step by the
    state is diagonal, so that Newton's method over all steps at once costs as much as a linear
    recurrence of vectors.

    Parameters: 3 * features * (inputs + 2). Kernels, diagonals and biases stand side by side in the
    order z, r, n.

    State: [batch, features], of `param_dtype`. Inputs: [batch, inputs]. Outputs: [batch, features].

    Source: Danieli et al., ParaRNN: unlocking parallel training of nonlinear RNNs for large
    language models, 2025, arXiv:2510.21450. The initial values are those of this package's other
    cells; the input kernels are full, not block-diagonal by heads. The block around the paper's
    cell (convolution, gate, normalisation) is not part of it.

    Attributes:
      kernel_init: of the three input kernels as one matrix, `[inputs, 3 * features]`.
      recurrent_init: of the three diagonals as one vector, `[3 * features]`.
      bias_init: of the three biases as one vector.
    """

    output_part: ClassVar[str | None] = ""
    jacobian: ClassVar[Literal["dense", "blocks"]] = "blocks"

    kernel_init: Initializer = nn.initializers.xavier_uniform()
    recurrent_init: Initializer = symmetric_uniform(1.0)
    bias_init: Initializer = nn.initializers.zeros

    def setup(self):
        units = 3 * self.features
        self.input = self.dense(units, kernel_init=self.kernel_init, bias_init=self.bias_init)
        self.recurrent_kernel = self.param(
            "recurrent_kernel", self.recurrent_init, (units,), self.param_dtype
        )

    def project(self, inputs):
        """Returns the inputs' part of z, r and n, [..., 3 * features]."""
        return self.input(inputs)

    def step(self, state, projected):
        """Returns the next state twice: it is the output as well."""
        inputs = jnp.split(projected.astype(state.dtype), 3, axis=-1)
        diagonals = jnp.split(match_rank(self.recurrent_kernel, state), 3, axis=-1)
        z, r = (sigmoid(x + a * state) for x, a in zip(inputs[:2], diagonals[:2], strict=True))
        z, r = self.gate("update gate", z), self.gate("reset gate", r)
        n = self.dropped(jnp.tanh(inputs[2] + diagonals[2] * (r * state)))
        new = (1 - z) * state + z * n
        return new, new.astype(projected.dtype)
