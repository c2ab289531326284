"""The selective state space model of Mamba, S6."""

import math
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.linen.dtypes import promote_dtype

from rnnjax.cells.base import Initializer, LinearCell
from rnnjax.errors import InputError
from rnnjax.kernels import match_rank


def step_bias(low: float = 0.001, high: float = 0.1) -> Initializer:
    """Returns an initializer of the steps' biases: the logarithm of their softplus is uniform."""

    def init(key, shape, dtype=jnp.float32, out_sharding=None):
        del out_sharding
        step = jnp.exp(jax.random.uniform(key, shape, dtype, math.log(low), math.log(high)))
        return step + jnp.log(-jnp.expm1(-step))

    return init


class MambaCell(LinearCell):
    r"""Selective state space model: each feature has n states, whose step depends on the input.

    .. math::
        \Delta_t &= \mathrm{softplus}(W_\Delta x_t + b_\Delta) \\
        (B_t, C_t) &= W_B x_t, W_C x_t \\
        s_t &= \exp(-\Delta_t e^{A}) \odot s_{t-1} + (\Delta_t \odot x_t) B_t^\top \\
        y_t &= s_t C_t + D \odot x_t

    :math:`\Delta_t` is a step for each feature, B and C are vectors of n numbers that all features
    share, A is a matrix [features, n]. x is as wide as y: where inputs and features differ, x is a
    projection of the inputs with a bias, `features * (inputs + 1)` parameters. :math:`W_\Delta` is
    the product of two matrices where `step_rank` is not 0. The output is y, which is no part of the
    state. Parameters:
    features * (3 * state_features + 2 + (2 * step_rank or features))
    + (inputs != features) * features * (inputs + 1). The kernel of the inputs has W_B, W_C and
    :math:`W_\Delta`, or its first factor, side by side.

    State: [batch, features, state_features], of `param_dtype`. Inputs: [batch, inputs]. Outputs:
    [batch, features].

    Source: Gu, Dao, Mamba: linear-time sequence modeling with selective state spaces, 2023,
    arXiv:2312.00752. A is held by the zero-order hold, B by its first order,
    :math:`\Delta_t B_t`, as in the authors' program. The block around the cell (convolution, gate,
    normalisation) is not part of it.

    Attributes:
      state_features: n, the number of states of a feature.
      step_rank: rank of :math:`W_\Delta`, the paper's is a sixteenth of the block's width; 0 is a
        full matrix.
      kernel_init: of the projection, `[inputs, features]`, if there is one, and of the kernel of B,
        C and the step, `[features, 2 * state_features + (step_rank or features)]`.
      step_init: of the second factor of :math:`W_\Delta`, `[step_rank, features]`, if there is one.
      step_bias_init: of :math:`b_\Delta`; by default the steps begin between 0.001 and 0.1.
    """

    output_part: ClassVar[str | None] = None

    state_features: int = 16
    step_rank: int = 0
    kernel_init: Initializer = nn.initializers.lecun_normal()
    step_init: Initializer = nn.initializers.variance_scaling(1.0, "fan_in", "uniform")
    step_bias_init: Initializer = step_bias()

    def validate(self):
        """Checks the number of states and the rank of the steps."""
        super().validate()
        if self.state_features < 1:
            raise InputError(f"state_features: given {self.state_features}, expected 1 or more")
        if self.step_rank < 0:
            raise InputError(
                f"step_rank: given {self.step_rank}, expected a rank, or 0 for a full matrix"
            )

    def setup(self):
        width = 2 * self.state_features + (self.step_rank or self.features)
        self.input = self.dense(self.features, kernel_init=self.kernel_init)
        self.selection = self.dense(width, kernel_init=self.kernel_init, use_bias=False)
        if self.step_rank:
            self.step_factor = self.dense(self.features, kernel_init=self.step_init, use_bias=False)
        self.step_bias = self.param(
            "step_bias", self.step_bias_init, (self.features,), self.param_dtype
        )
        self.decay_log = self.param("decay_log", self._decay_log)
        self.skip = self.param("skip", nn.initializers.ones, (self.features,), self.param_dtype)

    def initial_state(self, input_shape):
        """Returns zeros, [batch, features, state_features]."""
        shape = (*input_shape[:-1], self.features, self.state_features)
        return jnp.zeros(shape, self.param_dtype)

    def project(self, inputs):
        """Returns x, the preactivation of the step, B and C, side by side."""
        x = inputs if inputs.shape[-1] == self.features else self.input(inputs)
        selected = self.selection(x)
        vectors, step = jnp.split(selected, [2 * self.state_features], axis=-1)
        step = self.step_factor(step) if self.step_rank else step
        return jnp.concatenate([x.astype(step.dtype), step, vectors], axis=-1)

    def coefficients(self, projected):
        """Returns the decay of each state, and the inputs by their steps."""
        x, step, b, _ = self._split(projected.astype(self.param_dtype))
        step = jax.nn.softplus(step + match_rank(self.step_bias, step))
        decay = match_rank(jnp.exp(self.decay_log), step[..., None])
        return jnp.exp(-step[..., None] * decay), (step * x)[..., None] * b[..., None, :]

    def read(self, state, projected):
        """Returns s C, and D x added to it."""
        x, _, _, c = self._split(projected)
        state, skip, x, c = promote_dtype(state, self.skip, x, c, dtype=projected.dtype)
        product = jnp.einsum("...fn,...n->...f", state, c)
        return product + match_rank(skip, x) * x

    def _split(self, projected):
        sizes = np.cumsum([self.features, self.features, self.state_features])
        return jnp.split(projected, sizes, axis=-1)

    def _decay_log(self, key):
        del key
        decays = jnp.arange(1, self.state_features + 1, dtype=self.param_dtype)
        return jnp.tile(jnp.log(decays), (self.features, 1))
