"""Matrix states that are corrected by the delta rule, with a gate that forgets."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from rnnjax.cells.base import Initializer
from rnnjax.cells.mamba import step_bias
from rnnjax.cells.mamba2 import decay_log
from rnnjax.cells.matrix_cell import MatrixCell, normalize, split_heads
from rnnjax.kernels import match_rank
from rnnjax.kernels.matrix_recurrence import MatrixInputs


class GatedDeltaNetCell(MatrixCell):
    r"""Gated delta network: a memory of values by their keys, which a new value replaces.

    .. math::
        q_t &= \mathrm{silu}(W_q x_t) / \|\mathrm{silu}(W_q x_t)\| \\
        k_t &= \mathrm{silu}(W_k x_t) / \|\mathrm{silu}(W_k x_t)\| \\
        v_t &= \mathrm{silu}(W_v x_t) \\
        \beta_t &= \sigma(W_\beta x_t + b_\beta) \\
        a_t &= \exp(-e^{A} \, \mathrm{softplus}(W_a x_t + b_a)) \\
        S_t &= a_t (I - \beta_t k_t k_t^\top) S_{t-1} + \beta_t k_t v_t^\top \\
        o_t &= S_t^\top q_t

    for each head; a, :math:`\beta` and A are a number for each. With :math:`a = 1`, without the
    gate, it is the delta network. The output is the o of all heads side by side, which is no part
    of the state. With n = heads * (key_features or features // heads), the parameters are the
    kernels of q, k, v, :math:`\beta` and a, side by side, the biases of the last two, and A.
    Parameters:
    inputs * (2 * heads * (key_features or features // heads) + features + (1 + gated) * heads)
    + (1 + 2 * gated) * heads.

    State: [batch, heads, keys, values], of `param_dtype`. Inputs: [batch, inputs]. Outputs:
    [batch, features].

    Source: Yang, Kautz, Hatamizadeh, Gated delta networks: improving Mamba2 with delta rule, ICLR
    2025, arXiv:2412.06464; without the gate Yang et al., Parallelizing linear transformers with the
    delta rule over sequence length, NeurIPS 2024, arXiv:2406.06484. Eigenvalues below zero: Grazzi
    et al., Unlocking state-tracking in linear RNNs through negative eigenvalues, ICLR 2025,
    arXiv:2411.12537. The convolutions before the activations, the output's norm and gate are layers
    around the cell.

    Attributes:
      gated: whether the memory decays.
      negative_eigenvalues: doubles :math:`\beta`, so that the transition has eigenvalues in
        [-1, 1] instead of [0, 1], which parity needs.
      kernel_init: of the kernels as one matrix.
      beta_bias_init: of :math:`b_\beta`.
      decay_init: of A (`decay_log`); by default :math:`e^A` is uniform between 1 and 16.
      step_bias_init: of :math:`b_a`; by default its softplus begins between 0.001 and 0.1.
    """

    gated: bool = True
    negative_eigenvalues: bool = False
    kernel_init: Initializer = nn.initializers.lecun_normal()
    beta_bias_init: Initializer = nn.initializers.zeros
    decay_init: Initializer = decay_log()
    step_bias_init: Initializer = step_bias()

    @property
    def updates(self) -> int:
        """Number of keys, values and betas of a step."""
        return 1

    def setup(self):
        keys, factors = self.heads * self.key_size, self.updates * self.heads
        width = (1 + self.updates) * keys + self.updates * self.features + factors
        width += self.gated * self.heads
        self.input = self.dense(width, kernel_init=self.kernel_init, use_bias=False)
        self.beta_bias = self.param("beta_bias", self.beta_bias_init, (factors,), self.param_dtype)
        if self.gated:
            shape = (self.heads,)
            self.decay_log = self.param("decay_log", self.decay_init, shape, self.param_dtype)
            self.step_bias = self.param("step_bias", self.step_bias_init, shape, self.param_dtype)

    def project(self, inputs):
        """Returns the preactivations of q, k, v, beta and a, side by side."""
        return self.input(inputs)

    def coefficients(self, projected):
        """Returns q, k, v, log a and beta of each head."""
        keys, updates = self.heads * self.key_size, self.updates
        sizes = [keys, updates * keys, updates * self.features, updates * self.heads]
        q, k, v, beta, step = jnp.split(
            projected.astype(self.param_dtype), np.cumsum(sizes), axis=-1
        )
        q = normalize(split_heads(nn.silu(q), self.heads))
        k = normalize(split_heads(nn.silu(k), updates * self.heads))
        v = split_heads(nn.silu(v), updates * self.heads)
        beta = self.gate("update gate", jax.nn.sigmoid(beta + match_rank(self.beta_bias, beta)))
        log_decay = jnp.zeros_like(q[..., 0])
        if self.gated:
            step = jax.nn.softplus(step + match_rank(self.step_bias, step))
            log_decay = -match_rank(jnp.exp(self.decay_log), step) * step
            self.gate("forget gate", jnp.exp(log_decay))
        return MatrixInputs(q, k, v, log_decay, (1 + self.negative_eigenvalues) * beta)
