"""Simple recurrent unit."""

import math
from typing import ClassVar, Literal

import flax.linen as nn
import jax.numpy as jnp

from rnnjax.cells.base import Cell, Initializer, symmetric_uniform
from rnnjax.cells.biases import gate_bias
from rnnjax.kernels import match_rank, sigmoid


class SRUCell(Cell):
    r"""Simple recurrent unit: its gates see the state elementwise, its output has a highway.

    .. math::
        f_t &= \sigma(W_f x_t + v_f \odot c_{t-1} + b_f) \\
        r_t &= \sigma(W_r x_t + v_r \odot c_{t-1} + b_r) \\
        c_t &= f_t c_{t-1} + (1 - f_t) W x_t \\
        h_t &= r_t c_t + (1 - r_t) \alpha x_t

    with :math:`\alpha = \sqrt{1 + 2 e^{b}}`, b being the value at which b_r begins. The output is
    h, which is no part of the state. Where inputs and features differ, the highway has a product
    with x in the place of x. Parameters:
    features * (3 * inputs + 4) + (inputs != features) * inputs * features. The three kernels stand
    side by side in the order W_f, W_r, W; v_f and v_r, and b_f and b_r, do so too.

    State: c, [batch, features], of `param_dtype`. Inputs: [batch, inputs]. Outputs:
    [batch, features].

    Source: Lei, Zhang, Wang, Dai, Artzi, Simple recurrent units for highly parallelizable
    recurrence, EMNLP 2018. v begins with the variance 1/2 as in the authors' code, which begins W_f
    and W_r with half of W's variance as well; here they are drawn as W is. The dropout of the paper
    is for the layers.

    Attributes:
      highway_bias: where b_r begins; below zero the highway carries more.
      kernel_init: of the three input kernels as one matrix, `[inputs, 3 * features]`, and of the
        highway's.
      recurrent_init: of v_f and v_r as one vector, `[2 * features]`.
    """

    output_part: ClassVar[str | None] = None
    jacobian: ClassVar[Literal["dense", "blocks"]] = "blocks"

    highway_bias: float = 0.0
    kernel_init: Initializer = nn.initializers.variance_scaling(1.0, "fan_in", "uniform")
    recurrent_init: Initializer = symmetric_uniform(math.sqrt(1.5))

    def setup(self):
        units, bias_init = 2 * self.features, gate_bias(self.highway_bias, gate=1, gates=2)
        self.input = self.dense(3 * self.features, kernel_init=self.kernel_init, use_bias=False)
        self.highway = self.dense(self.features, kernel_init=self.kernel_init, use_bias=False)
        self.recurrent_kernel = self.param(
            "recurrent_kernel", self.recurrent_init, (units,), self.param_dtype
        )
        self.bias = self.param("bias", bias_init, (units,), self.param_dtype)

    def project(self, inputs):
        """Returns the inputs' part of f, r and c, and the highway's, [..., 4 * features]."""
        projected = self.input(inputs)
        carried = inputs if inputs.shape[-1] == self.features else self.highway(inputs)
        scaled = math.sqrt(1 + 2 * math.exp(self.highway_bias)) * carried
        return jnp.concatenate([projected, scaled.astype(projected.dtype)], axis=-1)

    def step(self, state, projected):
        """Returns the next state, and the output."""
        gates, new, carried = jnp.split(
            projected.astype(state.dtype), [2 * self.features, 3 * self.features], axis=-1
        )
        states = jnp.concatenate([state, state], axis=-1)
        kernel, bias = (
            match_rank(parameter, states) for parameter in (self.recurrent_kernel, self.bias)
        )
        f, r = jnp.split(sigmoid(gates + kernel * states + bias), 2, axis=-1)
        f, r = self.gate("forget gate", f), self.gate("reset gate (1 shows the state)", r)
        cell = f * state + (1 - f) * new
        output = r * cell + (1 - r) * carried
        return cell, output.astype(projected.dtype)
