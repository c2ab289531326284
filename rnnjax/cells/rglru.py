"""Real-gated linear recurrent unit."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype

from rnnjax.cells.base import Initializer, LinearCell
from rnnjax.errors import InputError
from rnnjax.kernels import match_rank, sigmoid

SHARPNESS = 8.0
"""c in the paper."""


def decay_between(low: float = 0.9, high: float = 0.999) -> Initializer:
    """Returns an initializer of Lambda: its logistic function, to the c, is uniform."""

    def init(key, shape, dtype=jnp.float32, out_sharding=None):
        del out_sharding
        log_a = jnp.log(jax.random.uniform(key, shape, dtype, low, high)) / SHARPNESS
        return log_a - jnp.log(-jnp.expm1(log_a))

    return init


class RGLRUCell(LinearCell):
    r"""Real-gated linear recurrent unit: how fast a unit forgets depends on the input.

    .. math::
        r_t &= \sigma(W_r x_t + b_r) \\
        i_t &= \sigma(W_i x_t + b_i) \\
        a_t &= \sigma(\Lambda)^{c r_t}, \quad c = 8 \\
        h_t &= a_t h_{t-1} + \sqrt{1 - a_t^2} \odot i_t x_t

    The output is h. x is as wide as h: where inputs and features differ, x is a projection of the
    inputs with a bias, `features * (inputs + 1)` parameters. W_r and W_i have `blocks` blocks on
    their diagonals and zeros elsewhere. Parameters:
    features * (2 * features // blocks + 3) + (inputs != features) * features * (inputs + 1). The
    two gates' blocks stand side by side in the order r, i.

    State: [batch, features], of `param_dtype`. Inputs: [batch, inputs]. Outputs: [batch, features].

    Source: De et al., Griffin: mixing gated linear recurrences with local attention for efficient
    language models, 2024, which has 16 blocks. RecurrentGemma leaves out the square root at
    the first step of a document; here, as in the paper's equations, all steps are alike. The
    convolution and the gated branch of the paper's block are not part of the cell.

    Attributes:
      blocks: into which the features are cut for the gates; 1 is a full matrix.
      kernel_init: of the projection, `[inputs, features]`, if there is one.
      gate_init: of the gates, `[blocks, features / blocks, 2 * features / blocks]`.
      decay_init: of Lambda (`decay`), `[features]`; by default :math:`\sigma(\Lambda)^c` begins
        between 0.9 and 0.999.
      bias_init: of the gates' biases, and of the projection's.
    """

    blocks: int = 1
    kernel_init: Initializer = nn.initializers.lecun_normal()
    gate_init: Initializer = nn.initializers.lecun_normal(batch_axis=(0,))
    decay_init: Initializer = decay_between()
    bias_init: Initializer = nn.initializers.zeros

    def validate(self):
        """Checks the number of blocks."""
        super().validate()
        if self.blocks < 1 or self.features % self.blocks:
            raise InputError(
                f"blocks: given {self.blocks}, expected a divisor of the {self.features} features"
            )

    def setup(self):
        width = self.features // self.blocks
        self.input = self.dense(
            self.features, kernel_init=self.kernel_init, bias_init=self.bias_init
        )
        self.gate_kernel = self.param(
            "gate_kernel", self.gate_init, (self.blocks, width, 2 * width), self.param_dtype
        )
        self.gate_bias = self.param(
            "gate_bias", self.bias_init, (2 * self.features,), self.param_dtype
        )
        self.decay = self.param("decay", self.decay_init, (self.features,), self.param_dtype)

    def project(self, inputs):
        """Returns x and the preactivations of r and i, [..., 3 * features]."""
        x = inputs if inputs.shape[-1] == self.features else self.input(inputs)
        x, kernel, bias = promote_dtype(x, self.gate_kernel, self.gate_bias, dtype=self.dtype)
        blocks = x.reshape(*x.shape[:-1], self.blocks, -1)
        gates = jnp.einsum("...bi,bij->...bj", blocks, kernel)
        r, i = (gate.reshape(x.shape) for gate in jnp.split(gates, 2, axis=-1))
        gates = jnp.concatenate([r, i], axis=-1)
        return jnp.concatenate([x, gates + match_rank(bias, gates)], axis=-1)

    def coefficients(self, projected):
        """Returns a, and the gated input scaled by sqrt(1 - a^2)."""
        x, r, i = jnp.split(projected.astype(self.param_dtype), 3, axis=-1)
        # The square root needs a small r to the last digit. `sigmoid` is exact to 3e-8, not more.
        r = self.gate("recurrence gate", jax.nn.sigmoid(r))
        log_a = -SHARPNESS * r * match_rank(jax.nn.softplus(-self.decay), r)
        a = jnp.exp(log_a)
        return a, _root(-jnp.expm1(2 * log_a)) * self.gate("input gate", sigmoid(i)) * x


def _root(x: jax.Array) -> jax.Array:
    """Returns the square root, with a derivative of zero at zero.

    At zero r has underflowed. The derivative by the preactivation of r tends to zero there, but as
    the product of infinity with zero.
    """
    positive = x > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, x, 1)), 0)
