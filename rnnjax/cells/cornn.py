"""The network of coupled oscillators."""

from typing import ClassVar, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from rnnjax.cells.base import Cell, Initializer


class CoRNNState(NamedTuple):
    """The state of coupled oscillators: where they are and how fast they move."""

    position: Float[Array, "*batch features"]
    velocity: Float[Array, "*batch features"]


class CoRNNCell(Cell):
    r"""Coupled oscillators, driven by the inputs.

    It follows :math:`y'' = \tanh(W_y y + W_z y' + W_x x + b) - \gamma y - \epsilon y'` by steps of
    the size :math:`\Delta`,

    .. math::
        z_t &= z_{t-1} + \Delta (\tanh(W_y y_{t-1} + W_z z_{t-1} + W_x x_t + b)
            - \gamma y_{t-1} - \epsilon z_{t-1}) \\
        y_t &= y_{t-1} + \Delta z_t

    The output is y. The velocity moves first and the position follows with the new one
    (implicit-explicit); the damping is explicit, :math:`z_{t-1}`, which is one of the paper's two
    versions, the other having :math:`z_t` there. Without inputs and kernels the steps are stable
    while :math:`\Delta (\Delta \gamma + 2 \epsilon) < 4`.

    Parameters: features * (inputs + 2 * features + 1). The recurrent kernel has the rows of y
    before those of z.

    State: `CoRNNState(position, velocity)`, each [batch, features], of `param_dtype`. Inputs:
    [batch, inputs]. Outputs: [batch, features].

    Source: Rusch, Mishra, Coupled oscillatory recurrent neural network (coRNN): an accurate and
    (gradient) stable architecture for learning long time dependencies, ICLR 2021. The defaults are
    those of the authors' program for sequential MNIST.

    Attributes:
      dt: size of a step, :math:`\Delta`.
      gamma: the pull back to zero, the square of an oscillator's own frequency.
      epsilon: damping.
      kernel_init: of W_x, `[inputs, features]`.
      recurrent_init: of W_y and W_z as one matrix, `[2 * features, features]`.
      bias_init: of b.
    """

    output_part: ClassVar[str | None] = "position"

    dt: float = 0.042
    gamma: float = 2.7
    epsilon: float = 4.7
    kernel_init: Initializer = nn.initializers.xavier_uniform()
    recurrent_init: Initializer = nn.initializers.orthogonal()
    bias_init: Initializer = nn.initializers.zeros

    def setup(self):
        self.input = self.dense(
            self.features, kernel_init=self.kernel_init, bias_init=self.bias_init
        )
        self.recurrent_kernel = self.param(
            "recurrent_kernel",
            self.recurrent_init,
            (2 * self.features, self.features),
            self.param_dtype,
        )

    def initial_state(self, input_shape):
        """Returns zeros for both parts."""
        zeros = super().initial_state(input_shape)
        return CoRNNState(position=zeros, velocity=zeros)

    def project(self, inputs):
        """Returns W_x x + b, [..., features]."""
        return self.input(inputs)

    def step(self, state, projected):
        """Returns the next state and its position."""
        y, z = state
        oscillators = jnp.concatenate([y, z], axis=-1)
        force = projected + self.recurrent_product(oscillators, self.recurrent_kernel)
        z = z + self.dt * (jnp.tanh(force.astype(z.dtype)) - self.gamma * y - self.epsilon * z)
        y = y + self.dt * z
        return CoRNNState(y, z), y.astype(projected.dtype)
