"""The gated recurrent unit whose gate and candidate share their kernels."""

from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp

from rnnjax.cells.base import GatedCell, Initializer
from rnnjax.errors import InputError
from rnnjax.kernels import match_rank, sigmoid


class FastGRNNCell(GatedCell):
    r"""Gated recurrent unit with one pair of kernels for gate and candidate.

    .. math::
        p_t &= W x_t + U h_{t-1} \\
        z_t &= \sigma(p_t + b_z) \\
        n_t &= \tanh(p_t + b_n) \\
        h_t &= (\sigma(\zeta) (1 - z_t) + \sigma(\nu)) d(n_t) + z_t h_{t-1}

    d is the dropout of `GatedCell`, by default off. The output is h; :math:`\zeta` and :math:`\nu`
    are scalars. With ranks, W and U are products of two thin matrices. Parameters: (input_rank *
    (inputs + features) if input_rank else inputs * features) + features * (2 * recurrent_rank if
    recurrent_rank else features) + 2 * features + 2.

    State: [batch, features], of `param_dtype`. Inputs: [batch, inputs]. Outputs: [batch, features].

    Source: Kusupati, Singh, Bhatia, Kumar, Jain, Varma, FastGRNN: a fast, accurate, stable and tiny
    kilobyte sized gated recurrent neural network, NeurIPS 2018. Its :math:`\zeta` and :math:`\nu`
    are :math:`\sigma(\zeta)` and :math:`\sigma(\nu)` here. Its training of sparse and quantised
    kernels is not part of the cell. The initial :math:`\zeta` and :math:`\nu` are those of the
    authors' EdgeML.

    Attributes:
      input_rank: of W; 0 for a full matrix.
      recurrent_rank: of U; 0 for a full matrix.
      kernel_init: of W, or of each of its factors, `[inputs, input_rank]` and `[input_rank,
        features]`.
      recurrent_init: of U, or of each of its factors, `[features, recurrent_rank]` and
        `[recurrent_rank, features]`.
      gate_bias_init: of b_z.
      bias_init: of b_n.
      zeta: initial value, before the sigmoid.
      nu: initial value, before the sigmoid.
    """

    output_part: ClassVar[str | None] = ""

    input_rank: int = 0
    recurrent_rank: int = 0
    kernel_init: Initializer = nn.initializers.xavier_uniform()
    recurrent_init: Initializer = nn.initializers.orthogonal()
    gate_bias_init: Initializer = nn.initializers.ones
    bias_init: Initializer = nn.initializers.zeros
    zeta: float = 1.0
    nu: float = -4.0

    def validate(self):
        """Checks the ranks."""
        super().validate()
        for name in ("input_rank", "recurrent_rank"):
            if getattr(self, name) < 0:
                raise InputError(
                    f"{name}: given {getattr(self, name)}, expected 1 or more, or 0 for a full "
                    "matrix"
                )

    def setup(self):
        features, rank = self.features, self.recurrent_rank
        if self.input_rank:
            self.input_reduced = self.dense(
                self.input_rank, kernel_init=self.kernel_init, use_bias=False
            )
        self.input = self.dense(features, kernel_init=self.kernel_init, use_bias=False)
        if rank:
            self.recurrent_kernel_reduced = self.param(
                "recurrent_kernel_reduced", self.recurrent_init, (features, rank), self.param_dtype
            )
        self.recurrent_kernel = self.param(
            "recurrent_kernel", self.recurrent_init, (rank or features, features), self.param_dtype
        )
        self.gate_bias = self.param("gate_bias", self.gate_bias_init, (features,), self.param_dtype)
        self.bias = self.param("bias", self.bias_init, (features,), self.param_dtype)
        constant = nn.initializers.constant
        # The parameters have other names than the attributes, which are their beginnings.
        self.zeta_logit = self.param("zeta_logit", constant(self.zeta), (), self.param_dtype)
        self.nu_logit = self.param("nu_logit", constant(self.nu), (), self.param_dtype)

    def project(self, inputs):
        """Returns W x, [..., features]."""
        return self.input(self.input_reduced(inputs) if self.input_rank else inputs)

    def step(self, state, projected):
        """Returns the next state twice: it is the output as well."""
        product = state
        if self.recurrent_rank:
            product = self.recurrent_product(product, self.recurrent_kernel_reduced)
        product = self.recurrent_product(product, self.recurrent_kernel)
        shared = (projected + product).astype(state.dtype)
        gate_bias, bias = (
            match_rank(parameter, shared) for parameter in (self.gate_bias, self.bias)
        )
        z = self.gate("update gate (1 keeps)", sigmoid(shared + gate_bias))
        n = self.dropped(jnp.tanh(shared + bias))
        new = (sigmoid(self.zeta_logit) * (1 - z) + sigmoid(self.nu_logit)) * n + z * state
        new = new.astype(state.dtype)
        return new, new.astype(projected.dtype)
