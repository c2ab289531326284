"""Linear recurrent unit: a diagonal of complex numbers."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from rnnjax.cells.base import Initializer
from rnnjax.cells.complex_diagonal import ComplexDiagonalCell, complex_array
from rnnjax.errors import InputError
from rnnjax.kernels import match_rank


class LRUCell(ComplexDiagonalCell):
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

    r_min: float = 0.0
    r_max: float = 1.0
    max_phase: float = 2 * math.pi
    output_init: Initializer = nn.initializers.variance_scaling(2.0, "fan_in", "normal")

    def setup(self):
        self.nu_log = self.param("nu_log", self._nu_log)
        self.theta_log = self.param("theta_log", self._theta_log)
        self.gamma_log = self.param("gamma_log", self._gamma_log)
        super().setup()

    def coefficients(self, projected):
        """Returns lambda, of all steps, and B x normalised."""
        inputs = self.input_states(projected)
        scale = match_rank(jnp.exp(self.gamma_log), inputs)
        b = complex_array(scale * inputs.real, scale * inputs.imag)
        radius, phase = jnp.exp(-jnp.exp(self.nu_log)), jnp.exp(self.theta_log)
        a = complex_array(radius * jnp.cos(phase), radius * jnp.sin(phase))
        return match_rank(a, b), b

    def validate(self):
        """Checks the ring of the eigenvalues as well."""
        super().validate()
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
        return jax.random.uniform(key, (self.state_size,), self.param_dtype, low, high)
