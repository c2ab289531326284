"""The time mixing of RWKV-7: matrix states with a diagonal plus low rank transition."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from rnnjax.cells.base import Initializer
from rnnjax.cells.matrix_cell import MatrixCell, merge_heads, normalize, split_heads
from rnnjax.errors import InputError
from rnnjax.kernels import match_rank
from rnnjax.kernels.matrix_recurrence import MatrixInputs, chunkwise_matrix_recurrence

STRONGEST_DECAY = float(np.exp(-0.5))
"""Minus the logarithm of the smallest decay."""


def rising_bias(low: float = -6.0, high: float = -1.0) -> Initializer:
    """Returns an initializer of biases that rise evenly over the channels."""

    def init(key, shape, dtype=jnp.float32, out_sharding=None):
        del key, out_sharding
        return jnp.linspace(low, high, shape[-1], dtype=dtype)

    return init


class RWKV7Cell(MatrixCell):
    r"""Time mixing of RWKV-7: a delta rule whose key is removed at a rate of its own per channel.

    .. math::
        r_t, k_t, v_t &= W_r x_t, W_k x_t, W_v x_t \\
        w_t &= \exp(-e^{-1/2} \sigma(B_w \tanh(A_w x_t) + b_w)) \\
        a_t &= \sigma(B_a A_a x_t + b_a) \\
        \kappa_t &= \xi \odot k_t / \|\xi \odot k_t\| \\
        \tilde k_t &= k_t \odot (1 + \alpha \odot (a_t - 1)) \\
        S_t &= (\mathrm{diag}(w_t) - (a_t \odot \kappa_t) \kappa_t^\top) S_{t-1}
            + \tilde k_t v_t^\top \\
        y_t &= S_t^\top r_t + (r_t^\top (\rho \odot \tilde k_t)) v_t

    for each head; :math:`\xi, \alpha, \rho` are vectors. S is the transpose of the paper's. The
    output is the y of all heads side by side, which is no part of the state. With
    n = heads * (key_features or features // heads), A and B are [inputs, rank] and [rank, n]. The
    kernels of r, k and v stand side by side, and so do A_w and A_a. Parameters:
    inputs * (2 * heads * (key_features or features // heads) + features + 2 * rank)
    + (2 * rank + 5) * heads * (key_features or features // heads).

    State: [batch, heads, keys, values], of `param_dtype`. Inputs: [batch, inputs]. Outputs:
    [batch, features].

    Source: Peng et al., RWKV-7 "Goose" with expressive dynamic state evolution, 2025,
    arXiv:2503.14456. The shift of the inputs by a step, the norm of the heads, which the paper
    has before the last term, the output gate and the values of the first layer are layers around
    the cell or left out.

    Attributes:
      rank: of the kernels of the decay and of the rate.
      kernel_init: of the kernels of r, k and v as one matrix, and of A as one.
      factor_init: of each B.
      decay_bias_init: of b_w; by default from -6 to -1 over the channels.
    """

    rank: int = 16
    kernel_init: Initializer = nn.initializers.lecun_normal()
    factor_init: Initializer = nn.initializers.lecun_normal()
    decay_bias_init: Initializer = rising_bias()

    def validate(self):
        """Checks the rank."""
        super().validate()
        if self.rank < 1:
            raise InputError(f"rank: given {self.rank}, expected 1 or more")

    def setup(self):
        keys = self.heads * self.key_size
        self.input = self.dense(
            2 * keys + self.features, kernel_init=self.kernel_init, use_bias=False
        )
        self.factors = self.dense(2 * self.rank, kernel_init=self.kernel_init, use_bias=False)
        self.decay = self.dense(keys, kernel_init=self.factor_init, bias_init=self.decay_bias_init)
        self.rate = self.dense(keys, kernel_init=self.factor_init)
        constant = nn.initializers.constant
        self.removal = self.param("removal", constant(0.85), (keys,), self.param_dtype)
        self.replacement = self.param("replacement", constant(1.0), (keys,), self.param_dtype)
        self.bonus = self.param("bonus", constant(0.0), (keys,), self.param_dtype)

    def project(self, inputs):
        """Returns r, k, v and the preactivations of w and a, side by side."""
        w, a = jnp.split(self.factors(inputs), 2, axis=-1)
        parts = [self.input(inputs), self.decay(jnp.tanh(w)), self.rate(a)]
        return jnp.concatenate(parts, axis=-1)

    def coefficients(self, projected):
        """Returns r, the new key, v, the logarithm of w, and both factors of the low rank."""
        r, k, v, w, a = self._parts(projected)
        log_decay = -STRONGEST_DECAY * jax.nn.sigmoid(w)
        self.gate("forget gate", jnp.exp(log_decay))
        a = self.gate("update gate", jax.nn.sigmoid(a))
        removed = normalize(split_heads(match_rank(self.removal, k) * k, self.heads))
        r, k, v, log_decay, a = (
            split_heads(part, self.heads) for part in (r, self._new_key(k, a), v, log_decay, a)
        )
        return MatrixInputs(r, k, v, log_decay, left=a * removed, right=removed)

    def read(self, products, projected: Any, stabilizer=None):
        """Returns the products, and the values of the steps by the bonus of their new keys."""
        r, k, v, _, a = self._parts(projected)
        k = self._new_key(k, jax.nn.sigmoid(a))
        bonus = split_heads(r * match_rank(self.bonus, k) * k, self.heads)
        bonus = bonus.sum(axis=-1, keepdims=True) * split_heads(v, self.heads)
        return merge_heads(products + bonus).astype(projected.dtype)

    def recurrence(self, inputs, state, *arguments):
        """Runs whole sequences by chunks, with the bound of the decays."""
        return chunkwise_matrix_recurrence(
            inputs, state, *arguments, lowest_log_decay=-STRONGEST_DECAY
        )

    def _parts(self, projected):
        """Returns r, k, v and the preactivations of w and a."""
        keys = self.heads * self.key_size
        sizes = [keys, keys, self.features, keys]
        return jnp.split(projected.astype(self.param_dtype), np.cumsum(sizes), axis=-1)

    def _new_key(self, key, rate):
        return key * (1 + match_rank(self.replacement, rate) * (rate - 1))
