"""Undamped independent oscillators, controlled by the inputs."""

from typing import ClassVar, Literal, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from rnnjax.cells.base import Cell, Initializer, symmetric_uniform
from rnnjax.errors import InputError
from rnnjax.kernels import match_rank, sigmoid


class UnICORNNState(NamedTuple):
    """The state of independent oscillators: where they are and how fast they move."""

    position: Float[Array, "*batch features"]
    velocity: Float[Array, "*batch features"]


class UnICORNNCell(Cell):
    r"""Undamped independent controlled oscillators: a Hamiltonian system, one for each unit.

    .. math::
        z_t &= z_{t-1} - \Delta \sigma(c) \odot (\tanh(w \odot y_{t-1} + V x_t + b)
            + \alpha y_{t-1}) \\
        y_t &= y_{t-1} + \Delta \sigma(c) \odot z_t

    The output is y. The step is the symplectic Euler scheme: it preserves the volume of (y, z), so
    that its Jacobian has the determinant 1, and it can be inverted. A unit sees only its own past;
    a second layer mixes them. Around zero an oscillator is stable while
    :math:`\Delta \sigma(c) \sqrt{w + \alpha} < 2`.

    Parameters: features * (inputs + 3).

    State: `UnICORNNState(position, velocity)`, y and z, each [batch, features], of `param_dtype`.
    Inputs: [batch, inputs]. Outputs: [batch, features].

    Source: Rusch, Mishra, UnICORNN: a recurrent model for learning very long time dependencies,
    ICML 2021, arXiv:2103.05487. The paper tunes dt, for each layer, and alpha to the task. Its
    program recomputes the states from the last one in the backward pass; here they are kept, or
    recomputed forward with `RNN(cell, remat=True)`.

    Attributes:
      dt: :math:`\Delta`, size of a step.
      alpha: the pull back to zero, at least 0.
      kernel_init: of V, `[inputs, features]`.
      recurrent_init: of w, `[features]`.
      step_init: of c (`step_size`), `[features]`.
      bias_init: of b.
    """

    output_part: ClassVar[str | None] = "position"
    zoneout_parts: ClassVar[tuple[str, ...]] = ("position", "velocity")
    jacobian: ClassVar[Literal["dense", "blocks"]] = "blocks"

    dt: float = 0.2
    alpha: float = 1.0
    kernel_init: Initializer = nn.initializers.he_uniform()
    recurrent_init: Initializer = nn.initializers.uniform(1.0)
    step_init: Initializer = symmetric_uniform(0.1)
    bias_init: Initializer = nn.initializers.zeros

    def validate(self):
        """Checks the length of a step and the pull to zero."""
        super().validate()
        if self.dt <= 0:
            raise InputError(f"dt: given {self.dt}, expected a number above 0")
        if self.alpha < 0:
            raise InputError(f"alpha: given {self.alpha}, expected 0 or more")

    def setup(self):
        self.input = self.dense(
            self.features, kernel_init=self.kernel_init, bias_init=self.bias_init
        )
        shape = (self.features,)
        self.recurrent_kernel = self.param(
            "recurrent_kernel", self.recurrent_init, shape, self.param_dtype
        )
        self.step_size = self.param("step_size", self.step_init, shape, self.param_dtype)

    def initial_state(self, input_shape):
        """Returns zeros for both parts."""
        zeros = super().initial_state(input_shape)
        return UnICORNNState(position=zeros, velocity=zeros)

    def project(self, inputs):
        """Returns V x + b, [..., features]."""
        return self.input(inputs)

    def step(self, state, projected):
        """Returns the next state and its position."""
        y, z = state
        dt = self.dt * match_rank(sigmoid(self.step_size), y)
        force = jnp.tanh(match_rank(self.recurrent_kernel, y) * y + projected.astype(y.dtype))
        z = z - dt * (force + self.alpha * y)
        y = y + dt * z
        return UnICORNNState(y, z), y.astype(projected.dtype)
