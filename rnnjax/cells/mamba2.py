"""The state space model of Mamba-2: a scalar decay for each head."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from rnnjax.cells.base import Initializer
from rnnjax.cells.mamba import step_bias
from rnnjax.cells.matrix_cell import MatrixCell, merge_heads, split_heads
from rnnjax.kernels import match_rank
from rnnjax.kernels.matrix_recurrence import MatrixInputs


def decay_log(low: float = 1.0, high: float = 16.0) -> Initializer:
    """Returns an initializer of the logarithms of decays that are uniform."""

    def init(key, shape, dtype=jnp.float32, out_sharding=None):
        del out_sharding
        return jnp.log(jax.random.uniform(key, shape, dtype, low, high))

    return init


class Mamba2Cell(MatrixCell):
    r"""State space dual model: one decay for each head, which the input chooses.

    .. math::
        x_t, B_t, C_t &= W_x u_t, W_B u_t, W_C u_t \\
        \Delta_t &= \mathrm{softplus}(W_\Delta u_t + b_\Delta) \\
        S_t &= \exp(-\Delta_t e^{A}) S_{t-1} + \Delta_t B_t x_t^\top \\
        y_t &= S_t^\top C_t + D x_t

    for each head of the inputs u; :math:`\Delta`, A and D are a number for each, B and C are
    vectors of key_features numbers that all heads share. The output is the y of all heads side by
    side, which is no part of the state. The kernels of x, B, C and :math:`\Delta` stand side by
    side. Parameters:
    inputs * (features + 2 * (key_features or features // heads) + heads) + 3 * heads.

    State: [batch, heads, keys, values], of `param_dtype`; keys is the paper's state size N, values
    its head size P. Inputs: [batch, inputs]. Outputs: [batch, features].

    Source: Dao, Gu, Transformers are SSMs: generalized models and efficient algorithms through
    structured state space duality, ICML 2024, arXiv:2405.21060. The convolution over x, B and C
    with its activation, and the gated norm of the output, are layers around the cell.

    Attributes:
      kernel_init: of the kernels as one matrix.
      decay_init: of A (`decay_log`); by default :math:`e^A` is uniform between 1 and 16.
      step_bias_init: of :math:`b_\Delta`; by default the steps begin between 0.001 and 0.1.
    """

    key_features: int = 64
    kernel_init: Initializer = nn.initializers.lecun_normal()
    decay_init: Initializer = decay_log()
    step_bias_init: Initializer = step_bias()

    def setup(self):
        width, shape = self.features + 2 * self.key_size + self.heads, (self.heads,)
        self.input = self.dense(width, kernel_init=self.kernel_init, use_bias=False)
        self.decay_log = self.param("decay_log", self.decay_init, shape, self.param_dtype)
        self.step_bias = self.param("step_bias", self.step_bias_init, shape, self.param_dtype)
        self.skip = self.param("skip", nn.initializers.ones, shape, self.param_dtype)

    def project(self, inputs):
        """Returns x, B, C and the preactivation of the step, side by side."""
        return self.input(inputs)

    def coefficients(self, projected):
        """Returns C, B and x by the step, and the logarithm of the decay of each head."""
        sizes = [self.features, self.key_size, self.key_size]
        x, b, c, step = jnp.split(projected.astype(self.param_dtype), np.cumsum(sizes), axis=-1)
        step = jax.nn.softplus(step + match_rank(self.step_bias, step))
        log_decay = -match_rank(jnp.exp(self.decay_log), step) * step
        self.gate("forget gate", jnp.exp(log_decay))
        b, c = (jnp.repeat(vectors[..., None, :], self.heads, axis=-2) for vectors in (b, c))
        return MatrixInputs(c, b, step[..., None] * split_heads(x, self.heads), log_decay)

    def read(self, products, projected: Any, stabilizer=None):
        """Returns the products and D x added to them."""
        x = split_heads(projected[..., : self.features].astype(products.dtype), self.heads)
        outputs = products + match_rank(self.skip[:, None], x) * x
        return merge_heads(outputs).astype(projected.dtype)
