"""The simplified state space layer: a diagonal of complex numbers in continuous time."""

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from rnnjax.cells.base import Initializer, LinearCell
from rnnjax.errors import InputError
from rnnjax.kernels import match_rank


class S5Cell(LinearCell):
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

    output_part: ClassVar[str | None] = None

    state_features: int = 0
    blocks: int = 1
    step_min: float = 0.001
    step_max: float = 0.1
    kernel_init: Initializer = nn.initializers.variance_scaling(0.5, "fan_in", "normal")
    output_init: Initializer = nn.initializers.variance_scaling(0.5, "fan_in", "normal")
    skip_init: Initializer = nn.initializers.variance_scaling(1.0, "fan_in", "normal")

    def validate(self):
        """Checks the size of the state, its blocks and the range of the steps."""
        super().validate()
        if self.state_features < 0:
            raise InputError(
                f"state_features: given {self.state_features}, expected a size, or 0 for features"
            )
        if self.blocks < 1 or self._size % self.blocks:
            raise InputError(
                f"blocks: given {self.blocks}, expected a divisor of the {self._size} eigenvalues"
            )
        if not 0 < self.step_min < self.step_max:
            raise InputError(
                f"step_min and step_max: given {self.step_min} and {self.step_max}, expected "
                "0 < step_min < step_max"
            )

    def setup(self):
        size = self._size
        self.decay_log = self.param("decay_log", self._decay_log)
        self.frequency = self.param("frequency", self._frequency)
        self.step_log = self.param("step_log", self._step_log)
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
        """Returns the discrete eigenvalues, once for each step, and B x by the zero-order hold."""
        parts = projected[..., : 2 * self._size].astype(self.param_dtype)
        inputs = _complex(*jnp.split(parts, 2, axis=-1))
        real, step = -jnp.exp(self.decay_log), jnp.exp(self.step_log)
        eigenvalues = _complex(real, self.frequency)
        exponent = _complex(real * step, self.frequency * step)
        hold = match_rank(jnp.expm1(exponent) / eigenvalues, inputs)
        return jnp.broadcast_to(jnp.exp(exponent), inputs.shape), hold * inputs

    def read(self, state, projected):
        """Returns twice the real part of C s, and D x added to it."""
        parts = jnp.concatenate([state.real, -state.imag], axis=-1)
        product = 2 * self.recurrent_product(parts, self.output_kernel)
        return (product + projected[..., 2 * self._size :]).astype(projected.dtype)

    @property
    def _size(self) -> int:
        return self.state_features or self.features

    def _decay_log(self, key):
        del key
        return jnp.full((self._size,), np.log(0.5), self.param_dtype)

    def _frequency(self, key):
        del key
        block = hippo_frequencies(self._size // self.blocks)
        return jnp.asarray(np.tile(block, self.blocks), self.param_dtype)

    def _step_log(self, key):
        low, high = np.log(self.step_min), np.log(self.step_max)
        return jax.random.uniform(key, (self._size,), self.param_dtype, low, high)


def hippo_frequencies(size: int) -> np.ndarray:
    """Returns the positive imaginary parts of the eigenvalues of HiPPO-N, `[size]`, rising.

    HiPPO-N has 2 * size rows; all of its eigenvalues have the real part -1/2.
    """
    roots = np.sqrt(np.arange(2 * size) + 0.5)
    lower = np.tril(np.outer(roots, roots), -1)
    # The singular values of a skew-symmetric matrix are these, each twice.
    return np.linalg.svd(lower - lower.T, compute_uv=False)[::-2]


def _complex(real: jax.Array, imaginary: jax.Array) -> jax.Array:
    dtype = np.promote_types(real.dtype, np.float32)
    return jax.lax.complex(real.astype(dtype), imaginary.astype(dtype))
