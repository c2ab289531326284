"""Recurrent highway network."""

from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp

from rnnjax.cells.base import Cell, Initializer
from rnnjax.cells.biases import gate_bias
from rnnjax.errors import InputError
from rnnjax.kernels import match_rank, sigmoid


class RHNCell(Cell):
    r"""Recurrent highway network: several highway layers within a time step.

    With :math:`s_t^0 = s_{t-1}^L`, for the layers l = 1 ... L,

    .. math::
        h_t^l &= \tanh([l = 1] W_h x_t + R_h^l s_t^{l-1} + b_h^l) \\
        g_t^l &= \sigma([l = 1] W_g x_t + R_g^l s_t^{l-1} + b_g^l) \\
        s_t^l &= g_t^l h_t^l + (1 - g_t^l) s_t^{l-1}

    The output is :math:`s_t^L`. Parameters: 2 * features * (inputs + depth * (features + 1)). The
    names of the recurrent kernels count the layers from 1; in each, h stands before g.

    State: [batch, features], of `param_dtype`. Inputs: [batch, inputs]. Outputs: [batch, features].

    Source: Zilly, Srivastava, Koutník, Schmidhuber, Recurrent highway networks, ICML 2017, with
    the carry gate coupled, 1 - g, as in its experiments; its t is g here, where t is time. Its
    variational dropout is not part of the cell.

    Attributes:
      depth: L.
      kernel_init: of both input kernels as one matrix, `[inputs, 2 * features]`.
      recurrent_init: of both recurrent kernels of a layer as one matrix, `[features,
        2 * features]`.
      transform_bias: of b_g at the beginning; negative, so that the layers begin by carrying.
    """

    output_part: ClassVar[str | None] = ""

    depth: int = 3
    kernel_init: Initializer = nn.initializers.xavier_uniform()
    recurrent_init: Initializer = nn.initializers.orthogonal()
    transform_bias: float = -2.0

    def validate(self):
        """Checks the depth."""
        super().validate()
        if self.depth < 1:
            raise InputError(f"depth: given {self.depth}, expected 1 or more layers")

    def setup(self):
        units, bias_init = 2 * self.features, gate_bias(self.transform_bias, gate=1, gates=2)
        self.input = self.dense(units, kernel_init=self.kernel_init, bias_init=bias_init)
        self.recurrent_kernels = [
            self.param(
                f"recurrent_kernel_{layer}",
                self.recurrent_init,
                (self.features, units),
                self.param_dtype,
            )
            for layer in range(1, self.depth + 1)
        ]
        # The bias of the first layer is that of the input projection.
        self.recurrent_biases = [
            self.param(f"recurrent_bias_{layer}", bias_init, (units,), self.param_dtype)
            for layer in range(2, self.depth + 1)
        ]

    def project(self, inputs):
        """Returns the inputs' part of the first layer, [..., 2 * features]."""
        return self.input(inputs)

    def step(self, state, projected):
        """Returns the next state twice: it is the output as well."""
        layers = zip(self.recurrent_kernels, [projected, *self.recurrent_biases], strict=True)
        for layer, (kernel, offset) in enumerate(layers, start=1):
            product = self.recurrent_product(state, kernel).astype(state.dtype)
            units = product + match_rank(offset.astype(state.dtype), product)
            h, g = jnp.split(units, 2, axis=-1)
            g = self.gate(f"transform gate {layer}", sigmoid(g))
            state = g * jnp.tanh(h) + (1 - g) * state
        return state, state.astype(projected.dtype)
