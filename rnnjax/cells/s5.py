"""The simplified state space layer: a diagonal of complex numbers in continuous time."""

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from rnnjax.cells.base import Initializer
from rnnjax.cells.complex_diagonal import ComplexDiagonalCell, complex_array
from rnnjax.errors import InputError
from rnnjax.kernels import match_rank


class S5Cell(ComplexDiagonalCell):
    r"""Simplified state space layer with a zero-order hold.

    .. math::
        \lambda &= -e^{\rho} + i \omega \\
        \bar\lambda &= \exp(\lambda \odot e^{\delta}) \\
        s_t &= \bar\lambda \odot s_{t-1} + \lambda^{-1} (\bar\lambda - 1) \odot B x_t \\
        y_t &= 2 \, \mathrm{Re}(C s_t) + D x_t

    B and C are complex; :math:`\rho, \omega, \delta` (`decay_log`, `frequency`, `step_log`) are
    vectors. The state has one eigenvalue of each pair of conjugates; the other halves, whose states
    are the conjugates, are the factor 2. The :math:`\lambda` begin as the eigenvalues above the
    real axis of HiPPO-N, the normal part of HiPPO-LegS, in `blocks` equal blocks; the steps
    :math:`e^{\delta}` are spread evenly in the logarithm, at random, over `[step_min, step_max]`.
    Whatever the parameters, :math:`|\bar\lambda| < 1`. The output is y, which is no part of the
    state. Parameters: (state_features or features) * (3 + 2 * (inputs + features)) + inputs *
    features. The real part of B stands beside its imaginary part, the real part of C above its
    imaginary part.

    State: [batch, n], n being `state_features or features`, complex64, with a `param_dtype` of
    float64 complex128; the paper's state size is 2 n. Inputs: [batch, inputs]. Outputs:
    [batch, features], real.

    Source: Smith, Warrington, Linderman, Simplified state space layers for sequence modeling, ICLR
    2023, arXiv:2208.04933. The paper learns the real part itself, which may leave the left half of
    the plane; here it is minus an exponential. D is a matrix, as in the paper's equations; in its
    experiments D is a diagonal. B and C in the coordinates of HiPPO-N's eigenvectors are normal
    with independent parts, and are drawn so. The nonlinear layers around the paper's cell are not
    part of it.

    Attributes:
      state_features: n, the number of eigenvalues; 0 stands for features.
      blocks: into which HiPPO-N is cut; they divide n.
      step_min: the shortest step to begin with.
      step_max: the longest step to begin with.
      kernel_init: of the two parts of B as one matrix, `[inputs, 2 * n]`.
      output_init: of the two parts of C as one matrix, `[2 * n, features]`.
      skip_init: of D, `[inputs, features]`.
    """

    output_scale: ClassVar[float] = 2.0

    blocks: int = 1
    step_min: float = 0.001
    step_max: float = 0.1
    output_init: Initializer = nn.initializers.variance_scaling(0.5, "fan_in", "normal")

    def validate(self):
        """Checks the blocks and the range of the steps as well."""
        super().validate()
        if self.blocks < 1 or self.state_size % self.blocks:
            raise InputError(
                f"blocks: given {self.blocks}, expected a divisor of the {self.state_size} "
                "eigenvalues"
            )
        if not 0 < self.step_min < self.step_max:
            raise InputError(
                f"step_min and step_max: given {self.step_min} and {self.step_max}, expected "
                "0 < step_min < step_max"
            )

    def setup(self):
        self.decay_log = self.param("decay_log", self._decay_log)
        self.frequency = self.param("frequency", self._frequency)
        self.step_log = self.param("step_log", self._step_log)
        super().setup()

    def coefficients(self, projected):
        """Returns the discrete eigenvalues, once for each step, and B x by the zero-order hold."""
        inputs = self.input_states(projected)
        real, step = -jnp.exp(self.decay_log), jnp.exp(self.step_log)
        eigenvalues = complex_array(real, self.frequency)
        exponent = complex_array(real * step, self.frequency * step)
        hold = match_rank(jnp.expm1(exponent) / eigenvalues, inputs)
        return match_rank(jnp.exp(exponent), inputs), hold * inputs

    def _decay_log(self, key):
        del key
        return jnp.full((self.state_size,), np.log(0.5), self.param_dtype)

    def _frequency(self, key):
        del key
        block = hippo_frequencies(self.state_size // self.blocks)
        return jnp.asarray(np.tile(block, self.blocks), self.param_dtype)

    def _step_log(self, key):
        low, high = np.log(self.step_min), np.log(self.step_max)
        return jax.random.uniform(key, (self.state_size,), self.param_dtype, low, high)


def hippo_frequencies(size: int) -> np.ndarray:
    """Returns the positive imaginary parts of the eigenvalues of HiPPO-N, `[size]`, rising.

    HiPPO-N has 2 * size rows; all of its eigenvalues have the real part -1/2.
    """
    roots = np.sqrt(np.arange(2 * size) + 0.5)
    lower = np.tril(np.outer(roots, roots), -1)
    # The singular values of a skew-symmetric matrix are these, each twice.
    return np.linalg.svd(lower - lower.T, compute_uv=False)[::-2]
