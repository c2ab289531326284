"""Linear attention whose memory decays: by a gate, by constants, or not at all."""

import math
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from rnnjax.cells.base import Initializer
from rnnjax.cells.matrix_cell import MatrixCell, split_heads
from rnnjax.errors import InputError
from rnnjax.kernels import match_rank
from rnnjax.kernels.matrix_recurrence import MatrixInputs

Decay = Literal["gated", "constant", "none"]


class GatedLinearAttentionCell(MatrixCell):
    r"""Linear attention as a recurrence, each channel of whose keys has a forget gate.

    .. math::
        q_t, k_t, v_t &= W_q x_t, W_k x_t, W_v x_t \\
        \alpha_t &= \sigma(W_2 W_1 x_t + b)^{1 / \tau} \\
        S_t &= \mathrm{diag}(\alpha_t) S_{t-1} + k_t v_t^\top \\
        o_t &= S_t^\top q_t / \sqrt{n}

    for each head, with n = key_features or features // heads. With a constant decay
    :math:`1 - 2^{-5-h}` of head h it is the retention of RetNet, with none linear attention, in
    which the kernel of attention is the product of query and key. The output is the o of all heads
    side by side, which is no part of the state. The kernels of q, k and v stand side by side.
    Parameters:
    inputs * (2 * heads * (key_features or features // heads) + features)
    + (decay == "gated") * (inputs * gate_rank
    + (gate_rank + 1) * heads * (key_features or features // heads)).

    State: [batch, heads, keys, values], of `param_dtype`. Inputs: [batch, inputs]. Outputs:
    [batch, features].

    Source: Yang et al., Gated linear attention transformers with hardware-efficient training, ICML
    2024, arXiv:2312.06635; Sun et al., Retentive network, 2023, arXiv:2307.08621, whose rotation of
    queries and keys by their positions is left out; Katharopoulos et al., Transformers are RNNs,
    ICML 2020, whose feature map and normaliser are left out. The output's norm and gate are layers
    around the cell.

    Attributes:
      decay: 'gated', 'constant' or 'none'.
      gate_rank: rank of the gate's kernel.
      temperature: :math:`\tau`, which holds the gate near 1.
      kernel_init: of the kernels of q, k and v as one matrix.
      gate_init: of W_1 and of W_2.
      gate_bias_init: of b.
    """

    decay: Decay = "gated"
    gate_rank: int = 16
    temperature: float = 16.0
    kernel_init: Initializer = nn.initializers.lecun_normal()
    gate_init: Initializer = nn.initializers.lecun_normal()
    gate_bias_init: Initializer = nn.initializers.zeros

    def validate(self):
        """Checks the rank and the temperature of the gate."""
        super().validate()
        if self.gate_rank < 1:
            raise InputError(f"gate_rank: given {self.gate_rank}, expected 1 or more")
        if not self.temperature > 0:
            raise InputError(f"temperature: given {self.temperature}, expected above 0")

    def setup(self):
        keys = self.heads * self.key_size
        self.input = self.dense(
            2 * keys + self.features, kernel_init=self.kernel_init, use_bias=False
        )
        if self.decay == "gated":
            self.gate_input = self.dense(self.gate_rank, kernel_init=self.gate_init, use_bias=False)
            self.gate_output = self.dense(
                keys, kernel_init=self.gate_init, bias_init=self.gate_bias_init
            )

    def project(self, inputs):
        """Returns q, k, v, and the preactivation of the gate if there is one, side by side."""
        projected = self.input(inputs)
        if self.decay != "gated":
            return projected
        return jnp.concatenate([projected, self.gate_output(self.gate_input(inputs))], axis=-1)

    def coefficients(self, projected):
        """Returns q, k, v and the logarithm of the decay of each head."""
        keys = self.heads * self.key_size
        parts = jnp.split(
            projected.astype(self.param_dtype), [keys, 2 * keys, 2 * keys + self.features], axis=-1
        )
        q, k, v = (split_heads(vectors, self.heads) for vectors in parts[:3])
        if self.decay == "gated":
            log_decay = jax.nn.log_sigmoid(split_heads(parts[3], self.heads)) / self.temperature
            self.gate("forget gate", jnp.exp(log_decay))
        elif self.decay == "constant":
            rates = np.log1p(-(2.0 ** (-5.0 - np.arange(self.heads))))
            rates = match_rank(jnp.asarray(rates, self.param_dtype), q[..., 0])
            log_decay = jnp.broadcast_to(rates, q.shape[:-1])
        else:
            log_decay = jnp.zeros_like(q[..., 0])
        return MatrixInputs(q / math.sqrt(self.key_size), k, v, log_decay)
