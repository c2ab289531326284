"""Linear oscillatory state space models."""

from typing import ClassVar, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from rnnjax.cells.base import Cell, Initializer
from rnnjax.errors import InputError
from rnnjax.kernels import match_rank

Scheme = Literal["implicit", "implicit-explicit", "damped"]


class LinOSSState(NamedTuple):
    """The state of linear oscillators: where they are and how fast they move."""

    position: Float[Array, "*batch state_features"]
    velocity: Float[Array, "*batch state_features"]


class LinOSSCell(Cell):
    r"""Linear oscillators, forced by the inputs: :math:`s'' = -A s - G s' + B x`.

    With :math:`\delta = \sigma(\text{step})` and :math:`A = \max(0, \text{stiffness})`,

    .. math::
        z_t &= z_{t-1} + \delta (B x_t - A s_* - G z_t) \\
        s_t &= s_{t-1} + \delta z_t \\
        y_t &= C s_t + D x_t

    The scheme says what :math:`s_*` is: 'implicit' (LinOSS-IM) takes :math:`s_t`, and all
    oscillations decay; 'implicit-explicit' (LinOSS-IMEX) takes :math:`s_{t-1}`, the symplectic
    scheme, whose step preserves the volume of (s, z) and, while :math:`\delta^2 A < 4`, an energy.
    For both G is zero. 'damped' (D-LinOSS) takes :math:`s_{t-1}` with a learned
    :math:`G = \max(0, \text{damping})`; its eigenvalues are a pair of conjugates of the modulus
    :math:`(1 + \delta G)^{-1/2}` where :math:`(G - \delta A)^2 < 4 A`. The output is y, which is no
    part of the state.

    Parameters: (state_features or features) * (2 + (scheme == "damped") + inputs + features)
    + inputs * features.

    State: `LinOSSState(position, velocity)`, s and z, each [batch, n], n being
    `state_features or features`, of `param_dtype`. Inputs: [batch, inputs]. Outputs:
    [batch, features].

    Source: Rusch, Rus, Oscillatory state-space models, ICLR 2025, arXiv:2410.03943; Boyer, Rusch,
    Rus, Learning to dissipate energy in oscillatory state-space models, 2025, arXiv:2505.12171. D
    is a matrix, as in the papers' equations. D-LinOSS keeps A in the range where the eigenvalues
    are conjugates by clipping it; here it is only kept at 0 or above. B and C are real. The
    nonlinear layers around the papers' cells are not part of the cell.

    Attributes:
      state_features: n, the number of oscillators; 0 stands for features.
      scheme: 'implicit', 'implicit-explicit' or 'damped'.
      kernel_init: of B, `[inputs, n]`.
      output_init: of C, `[n, features]`.
      skip_init: of D, `[inputs, features]`.
      stiffness_init: of the stiffness, `[n]`.
      step_init: of the preactivation of the step, `[n]`.
      damping_init: of the damping, `[n]`, if there is one.
    """

    output_part: ClassVar[str | None] = None
    zoneout_parts: ClassVar[tuple[str, ...]] = ("position", "velocity")
    jacobian: ClassVar[Literal["dense", "blocks"]] = "blocks"

    state_features: int = 0
    scheme: Scheme = "implicit"
    kernel_init: Initializer = nn.initializers.lecun_normal()
    output_init: Initializer = nn.initializers.lecun_normal()
    skip_init: Initializer = nn.initializers.lecun_normal()
    stiffness_init: Initializer = nn.initializers.uniform(1.0)
    step_init: Initializer = nn.initializers.uniform(1.0)
    damping_init: Initializer = nn.initializers.uniform(1.0)

    def validate(self):
        """Checks the number of oscillators."""
        super().validate()
        if self.state_features < 0:
            raise InputError(
                f"state_features: given {self.state_features}, expected a size, or 0 for features"
            )

    def setup(self):
        size = self._size
        self.input = self.dense(size, kernel_init=self.kernel_init, use_bias=False)
        self.skip = self.dense(self.features, kernel_init=self.skip_init, use_bias=False)
        self.output_kernel = self.param(
            "output_kernel", self.output_init, (size, self.features), self.param_dtype
        )
        self.stiffness = self.param("stiffness", self.stiffness_init, (size,), self.param_dtype)
        self.step_size = self.param("step_size", self.step_init, (size,), self.param_dtype)
        if self.scheme == "damped":
            self.damping = self.param("damping", self.damping_init, (size,), self.param_dtype)

    def initial_state(self, input_shape):
        """Returns zeros for both parts."""
        zeros = jnp.zeros((*input_shape[:-1], self._size), self.param_dtype)
        return LinOSSState(position=zeros, velocity=zeros)

    def project(self, inputs):
        """Returns B x and D x, [..., n + features]."""
        return jnp.concatenate([self.input(inputs), self.skip(inputs)], axis=-1)

    def step(self, state, projected):
        """Returns the next state and the output."""
        s, z = state
        force, skip = jnp.split(projected, [self._size], axis=-1)
        # Not `rnnjax.kernels.sigmoid`: the step is a factor of every state.
        dt = match_rank(jax.nn.sigmoid(self.step_size), s)
        a = match_rank(jax.nn.relu(self.stiffness), s)
        # Solved for the new velocity, of which the new position and the damping are linear.
        implicit = 1.0
        if self.scheme == "implicit":
            implicit = 1 + dt**2 * a
        elif self.scheme == "damped":
            implicit = 1 + dt * match_rank(jax.nn.relu(self.damping), s)
        z = (z + dt * (force.astype(s.dtype) - a * s)) / implicit
        s = s + dt * z
        output = self.recurrent_product(s, self.output_kernel).astype(skip.dtype) + skip
        return LinOSSState(s, z), output.astype(projected.dtype)

    @property
    def _size(self) -> int:
        return self.state_features or self.features
