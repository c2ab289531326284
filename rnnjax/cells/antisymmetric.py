"""The recurrent network with an antisymmetric kernel."""

from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp

from rnnjax.cells.base import Cell, Initializer
from rnnjax.kernels import sigmoid


class AntisymmetricCell(Cell):
    r"""A step of Euler's method along a stable ordinary differential equation.

    .. math::
        p_t &= (W_h - W_h^\top - \gamma I) h_{t-1} \\
        n_t &= \tanh(p_t + W_n x_t + b_n) \\
        h_t &= h_{t-1} + \epsilon n_t

    With `gated=True`

    .. math::
        z_t &= \sigma(p_t + W_z x_t + b_z) \\
        h_t &= h_{t-1} + \epsilon z_t n_t

    The output is h. An antisymmetric matrix has imaginary eigenvalues, so that the memory
    neither fades nor grows, except for the diffusion :math:`\gamma` that keeps the discrete steps
    stable.

    Parameters: features * ((1 + gated) * (inputs + 1) + features). In the input kernel n stands
    before z. W_h is kept whole, although only W_h - W_h^T counts; the paper keeps the triangle
    above its diagonal, features * (features - 1) / 2 numbers.

    State: [batch, features], of `param_dtype`. Inputs: [batch, inputs]. Outputs: [batch, features].

    Source: Chang, Chen, Haber, Chi, AntisymmetricRNN: a dynamical system view on recurrent neural
    networks, ICLR 2019. Its V is W_n here.

    Attributes:
      epsilon: size of the step.
      gamma: diffusion.
      gated: the step has a gate, which shares W_h.
      kernel_init: of the input kernels as one matrix, `[inputs, (1 + gated) * features]`.
      recurrent_init: of W_h, `[features, features]`.
      bias_init: of the biases.
    """

    output_part: ClassVar[str | None] = ""

    epsilon: float = 0.1
    gamma: float = 0.01
    gated: bool = False
    kernel_init: Initializer = nn.initializers.variance_scaling(1.0, "fan_in", "normal")
    recurrent_init: Initializer = nn.initializers.variance_scaling(1.0, "fan_in", "normal")
    bias_init: Initializer = nn.initializers.zeros

    def setup(self):
        self.input = self.dense(
            (1 + self.gated) * self.features,
            kernel_init=self.kernel_init,
            bias_init=self.bias_init,
        )
        self.recurrent_kernel = self.param(
            "recurrent_kernel",
            self.recurrent_init,
            (self.features, self.features),
            self.param_dtype,
        )

    def project(self, inputs):
        """Returns the inputs' part of n and, with `gated`, of z."""
        return self.input(inputs)

    def step(self, state, projected):
        """Returns the next state twice: it is the output as well."""
        kernel = self.recurrent_kernel - self.recurrent_kernel.T
        product = self.recurrent_product(state, kernel).astype(state.dtype) - self.gamma * state
        drive = projected.astype(state.dtype)
        n = jnp.tanh(product + drive[..., : self.features])
        if self.gated:
            n = self.gate("update gate", sigmoid(product + drive[..., self.features :])) * n
        new = state + self.epsilon * n
        return new, new.astype(projected.dtype)
