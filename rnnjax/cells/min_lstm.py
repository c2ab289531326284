"""Minimal long short-term memory: an LSTM whose gates do not see the state."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from rnnjax.cells.base import Initializer, LinearCell
from rnnjax.cells.min_gru import above_zero
from rnnjax.kernels import sigmoid


class MinLSTMCell(LinearCell):
    r"""Minimal long short-term memory, its two gates normalised to a sum of one.

    .. math::
        f_t &= \sigma(W_f x_t + b_f) \\
        i_t &= \sigma(W_i x_t + b_i) \\
        \tilde{h}_t &= W_h x_t + b_h \\
        h_t &= \frac{f_t}{f_t + i_t} h_{t-1} + \frac{i_t}{f_t + i_t} \tilde{h}_t

    With `positive=True` :math:`\tilde{h}_t = g(W_h x_t + b_h)`, where g(x) is x + 1/2 for x >= 0
    and :math:`\sigma(x)` below. The output is h. Parameters: 3 * features * (inputs + 1). The
    three kernels stand side by side in the order f, i, h.

    State: [batch, features], of `param_dtype`. Inputs: [batch, inputs]. Outputs: [batch, features].

    Source: Feng, Tung, Ahmed, Bengio, Hajimirsadeghi, Were RNNs all we needed?, 2024. The paper
    trains with g and scans logarithms; here the scan is over the normalised gates themselves, as
    in `MinGRUCell`. The paper's blocks (convolution, MLP, normalisation) are not part of the cell.

    Attributes:
      positive: whether the new part goes through g; the state then never falls below zero, unless
        it begins there.
      kernel_init: of the three input kernels as one matrix, `[inputs, 3 * features]`.
      bias_init: of the three biases as one vector.
    """

    positive: bool = False
    kernel_init: Initializer = nn.initializers.xavier_uniform()
    bias_init: Initializer = nn.initializers.zeros

    def setup(self):
        self.input = self.dense(
            3 * self.features, kernel_init=self.kernel_init, bias_init=self.bias_init
        )

    def project(self, inputs):
        """Returns the preactivations of the gates and the candidate, [..., 3 * features]."""
        return self.input(inputs)

    def coefficients(self, projected):
        """Returns the normalised forget gate, and the normalised input gate times the new part."""
        f, i, new = jnp.split(projected.astype(self.param_dtype), 3, axis=-1)
        # f / (f + i) is a logistic function of log(f / i). The quotient itself is 0 / 0 where both
        # gates are closed.
        forget = self.gate("forget gate", sigmoid(jax.nn.softplus(-i) - jax.nn.softplus(-f)))
        let_in = self.gate("input gate", 1 - forget)
        return forget, let_in * (above_zero(new) if self.positive else new)
