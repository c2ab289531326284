"""Long expressive memory: two states with time scales of their own."""

from typing import ClassVar, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from rnnjax.cells.base import Cell, Initializer
from rnnjax.errors import InputError
from rnnjax.kernels import sigmoid


class LEMState(NamedTuple):
    """The state of a long expressive memory: y, the output, and z, which drives it."""

    hidden: Float[Array, "*batch features"]
    cell: Float[Array, "*batch features"]


class LEMCell(Cell):
    r"""Long expressive memory: each unit learns how long its steps in time are.

    .. math::
        \Delta_t &= \Delta \, \sigma(W_1 y_{t-1} + V_1 x_t + b_1) \\
        \bar\Delta_t &= \Delta \, \sigma(W_2 y_{t-1} + V_2 x_t + b_2) \\
        z_t &= (1 - \Delta_t) z_{t-1} + \Delta_t \tanh(W_z y_{t-1} + V_z x_t + b_z) \\
        y_t &= (1 - \bar\Delta_t) y_{t-1} + \bar\Delta_t \tanh(W_y z_t + V_y x_t + b_y)

    The output is y. Both states are weighted means of their last value and of a number between -1
    and 1, so that they stay within these bounds, :math:`\Delta` being at most 1.

    Parameters: 4 * features * (inputs + features + 1). The input kernels stand side by side in the
    order V_1, V_2, V_z, V_y, the first three recurrent kernels in the order W_1, W_2, W_z.

    State: `LEMState(hidden, cell)`, y and z, each [batch, features], of `param_dtype`. Inputs:
    [batch, inputs]. Outputs: [batch, features].

    Source: Rusch, Mishra, Erichson, Mahoney, Long expressive memory for sequence modeling, ICLR
    2022, arXiv:2110.04744. The initial weights are those of this package's other cells.

    Attributes:
      dt: :math:`\Delta`, the longest step, in (0, 1]; the paper tunes it to the task.
      kernel_init: of the four input kernels as one matrix, `[inputs, 4 * features]`.
      recurrent_init: of W_1, W_2 and W_z as one matrix, `[features, 3 * features]`, and of W_y.
      bias_init: of the four biases as one vector.
    """

    output_part: ClassVar[str | None] = "hidden"
    zoneout_parts: ClassVar[tuple[str, ...]] = ("hidden", "cell")

    dt: float = 1.0
    kernel_init: Initializer = nn.initializers.xavier_uniform()
    recurrent_init: Initializer = nn.initializers.orthogonal()
    bias_init: Initializer = nn.initializers.zeros

    def validate(self):
        """Checks the length of a step."""
        super().validate()
        if not 0 < self.dt <= 1:
            raise InputError(f"dt: given {self.dt}, expected a number above 0, at most 1")

    def setup(self):
        self.input = self.dense(
            4 * self.features, kernel_init=self.kernel_init, bias_init=self.bias_init
        )
        self.recurrent_kernel = self.param(
            "recurrent_kernel",
            self.recurrent_init,
            (self.features, 3 * self.features),
            self.param_dtype,
        )
        self.memory_kernel = self.param(
            "memory_kernel", self.recurrent_init, (self.features, self.features), self.param_dtype
        )

    def initial_state(self, input_shape):
        """Returns zeros for both parts."""
        zeros = super().initial_state(input_shape)
        return LEMState(hidden=zeros, cell=zeros)

    def project(self, inputs):
        """Returns the inputs' part of the steps, of z and of y, [..., 4 * features]."""
        return self.input(inputs)

    def step(self, state, projected):
        """Returns the next state and its hidden part."""
        y, z = state
        inputs, input_y = jnp.split(projected.astype(y.dtype), [3 * self.features], axis=-1)
        recurrent = self.recurrent_product(y, self.recurrent_kernel).astype(y.dtype)
        step_z, step_y, new_z = jnp.split(inputs + recurrent, 3, axis=-1)
        step_z = self.dt * self.gate("time step gate of the memory", sigmoid(step_z))
        step_y = self.dt * self.gate("time step gate of the output", sigmoid(step_y))
        z = (1 - step_z) * z + step_z * jnp.tanh(new_z)
        new_y = input_y + self.recurrent_product(z, self.memory_kernel).astype(y.dtype)
        y = (1 - step_y) * y + step_y * jnp.tanh(new_y)
        return LEMState(y, z), y.astype(projected.dtype)
