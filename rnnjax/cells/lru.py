"""Linear recurrent unit: a diagonal of complex numbers."""

import math
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from rnnjax.cells.base import Initializer, LinearCell
from rnnjax.errors import InputError
from rnnjax.kernels import match_rank


class LRUCell(LinearCell):
    r"""Linear recurrent unit.

    .. math::
        \lambda &= \exp(-e^{\nu} + i e^{\theta}) \\
        s_t &= \lambda \odot s_{t-1} + e^{\gamma} \odot B x_t \\
        y_t &= \mathrm{Re}(C s_t) + D x_t

    B and C are complex; :math:`\nu, \theta, \gamma` (`nu_log`, `theta_log`, `gamma_log`) are
    vectors. The lambda begin uniformly distributed over the ring `r_min` <= |lambda| <= `r_max`,
    their phases between 0 and `max_phase`; gamma begins at the logarithm of
    :math:`\sqrt{1 - |\lambda|^2}`. The output is y, which is no part of the state. Parameters:
    (state_features or features) * (3 + 2 * (inputs + features)) + inputs * features. The real part
    of B stands beside its imaginary part, the real part of C above its imaginary part.

    State: [batch, n], n being `state_features or features`, complex64, with a `param_dtype` of
    float64 complex128. Inputs: [batch, inputs]. Outputs: [batch, features], real.

    Source: Orvieto, Smith, Gu, Fernando, Gulcehre, Pascanu, De, Resurrecting recurrent neural
    networks for long sequences, ICML 2023. D is a matrix, as in the paper's equations; in its
    listing D is a diagonal, which asks for as many inputs as outputs. The output is linear: the
    nonlinear layers between the paper's units, and their normalisation, are not part of the cell. A
    smaller learning rate for the three vectors, as in the paper, is for the optimizer.

    Attributes:
      state_features: n, the size of the state; 0 stands for features.
      r_min: the smallest |lambda| to begin with.
      r_max: the largest |lambda| to begin with.
      max_phase: the largest phase of lambda to begin with, in radians.
      kernel_init: of the two parts of B as one matrix, `[inputs, 2 * n]`.
      output_init: of the two parts of C as one matrix, `[2 * n, features]`.
      skip_init: of D, `[inputs, features]`.
    """

    output_part: ClassVar[str | None] = None

    state_features: int = 0
    r_min: float = 0.0
    r_max: float = 1.0
    max_phase: float = 2 * math.pi
    kernel_init: Initializer = nn.initializers.variance_scaling(0.5, "fan_in", "normal")
    output_init: Initializer = nn.initializers.variance_scaling(2.0, "fan_in", "normal")
    skip_init: Initializer = nn.initializers.variance_scaling(1.0, "fan_in", "normal")

    def setup(self):
        size = self._size
        self.nu_log = self.param("nu_log", self._nu_log)
        self.theta_log = self.param("theta_log", self._theta_log)
        self.gamma_log = self.param("gamma_log", self._gamma_log)
        self.input = self.dense(2 * size, kernel_init=self.kernel_init, use_bias=False)
        self.skip = self.dense(self.features, kernel_init=self.skip_init, use_bias=False)
        self.output_kernel = self.param(
            "output_kernel", self.output_init, (2 * size, self.features), self.param_dtype
        )

    def initial_state(self, input_shape):
        """Returns complex zeros."""
        zeros = jnp.zeros((*input_shape[:-1], self._size), self.param_dtype)
        return _complex(zeros, zeros)

    def project(self, inputs):
        """Returns the two parts of B x, and D x, [..., 2 * n + features]."""
        return jnp.concatenate([self.input(inputs), self.skip(inputs)], axis=-1)

    def coefficients(self, projected):
        """Returns lambda, once for each step, and B x normalised."""
        parts = projected[..., : 2 * self._size].astype(self.param_dtype)
        real, imaginary = jnp.split(parts, 2, axis=-1)
        scale = match_rank(jnp.exp(self.gamma_log), real)
        b = _complex(scale * real, scale * imaginary)
        radius, phase = jnp.exp(-jnp.exp(self.nu_log)), jnp.exp(self.theta_log)
        a = _complex(radius * jnp.cos(phase), radius * jnp.sin(phase))
        return jnp.broadcast_to(a, b.shape), b

    def read(self, state, projected):
        """Returns the real part of C s, and D x added to it."""
        parts = jnp.concatenate([state.real, -state.imag], axis=-1)
        product = self.recurrent_product(parts, self.output_kernel)
        return (product + projected[..., 2 * self._size :]).astype(projected.dtype)

    @property
    def _size(self) -> int:
        return self.state_features or self.features

    def validate(self):
        """Checks the size of the state and the ring of the eigenvalues."""
        super().validate()
        if self.state_features < 0:
            raise InputError(
                f"state_features: given {self.state_features}, expected a size, or 0 for features"
            )
        if not 0 <= self.r_min < self.r_max <= 1:
            raise InputError(
                f"r_min and r_max: given {self.r_min} and {self.r_max}, expected "
                "0 <= r_min < r_max <= 1"
            )
        if not 0 < self.max_phase <= 2 * math.pi:
            raise InputError(
                f"max_phase: given {self.max_phase}, expected radians above 0, at most 2 pi"
            )

    def _nu_log(self, key):
        # Uniform in the square of the radius is uniform in the area. Neither 0 nor 1 has a finite
        # nu, and rounding reaches 1.
        square = self._uniform(key, self.r_min**2, self.r_max**2)
        limits = jnp.finfo(self.param_dtype)
        return jnp.log(-0.5 * jnp.log(jnp.clip(square, limits.tiny, 1 - limits.epsneg)))

    def _theta_log(self, key):
        phase = self._uniform(key, 0, self.max_phase)
        return jnp.log(jnp.maximum(phase, jnp.finfo(self.param_dtype).tiny))

    def _gamma_log(self, key):
        del key
        return 0.5 * jnp.log(-jnp.expm1(-2 * jnp.exp(self.nu_log)))

    def _uniform(self, key, low, high):
        return jax.random.uniform(key, (self._size,), self.param_dtype, low, high)


def _complex(real: jax.Array, imaginary: jax.Array) -> jax.Array:
    dtype = np.promote_types(real.dtype, np.float32)
    return jax.lax.complex(real.astype(dtype), imaginary.astype(dtype))
