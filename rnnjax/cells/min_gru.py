"""Minimal gated recurrent unit: a GRU whose gate does not see the state."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from rnnjax.cells.base import Initializer, LinearCell
from rnnjax.kernels import sigmoid


def above_zero(x: jax.Array) -> jax.Array:
    """Returns x + 1/2 from zero on and the logistic function of x below: continuous, never < 0."""
    return jnp.where(x >= 0, x + 0.5, sigmoid(x))


class MinGRUCell(LinearCell):
    r"""Minimal gated recurrent unit.

    .. math::
        z_t &= \sigma(W_z x_t + b_z) \\
        \tilde{h}_t &= W_h x_t + b_h \\
        h_t &= (1 - z_t) h_{t-1} + z_t \tilde{h}_t

    With `positive=True` :math:`\tilde{h}_t = g(W_h x_t + b_h)`, where g(x) is x + 1/2 for x >= 0
    and :math:`\sigma(x)` below. The output is h. Parameters: 2 * features * (inputs + 1). The two
    kernels stand side by side in the order z, h.

    State: [batch, features], of `param_dtype`. Inputs: [batch, inputs]. Outputs: [batch, features].

    Source: Feng, Tung, Ahmed, Bengio, Hajimirsadeghi, Were RNNs all we needed?, 2024. The paper
    trains with g, because it scans logarithms, which a negative state has not. Here the scan is
    over 1 - z and z h themselves: both factors are between 0 and 1, nothing can overflow, and g is
    a choice. The paper's blocks (convolution, MLP, normalisation) are not part of the cell.

    Attributes:
      positive: whether the new part goes through g; the state then never falls below zero, unless
        it begins there.
      kernel_init: of the two input kernels as one matrix, `[inputs, 2 * features]`.
      bias_init: of the two biases as one vector.
    """

    positive: bool = False
    kernel_init: Initializer = nn.initializers.xavier_uniform()
    bias_init: Initializer = nn.initializers.zeros

    def setup(self):
        self.input = self.dense(
            2 * self.features, kernel_init=self.kernel_init, bias_init=self.bias_init
        )

    def project(self, inputs):
        """Returns the preactivations of z and the candidate, [..., 2 * features]."""
        return self.input(inputs)

    def coefficients(self, projected):
        """Returns 1 - z, and z times the new part."""
        gate, new = jnp.split(projected.astype(self.param_dtype), 2, axis=-1)
        z = self.gate("update gate", sigmoid(gate))
        return 1 - z, z * (above_zero(new) if self.positive else new)
