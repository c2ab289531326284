"""The closed-form continuous-time network."""

from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp

from rnnjax.cells.base import Cell, Initializer
from rnnjax.cells.ltc import split_elapsed_time
from rnnjax.errors import InputError
from rnnjax.kernels import match_rank, sigmoid


class CfCCell(Cell):
    r"""Closed-form continuous-time cell: a gate between two candidates, closed by elapsed time.

    .. math::
        b_t &= 1.7159 \tanh(\tfrac{2}{3} (W x_t + R h_{t-1} + b)) \\
        f_t &= W_f b_t + b_f \\
        g_t &= \tanh(W_g b_t + b_g) \\
        n_t &= \tanh(W_n b_t + b_n) \\
        h_t &= \sigma(-f_t \Delta_t) g_t + (1 - \sigma(-f_t \Delta_t)) n_t

    :math:`\Delta_t` is the time since the previous step: 1, or with `elapsed_time=True` the last
    channel of the inputs, which x_t then lacks; below zero it counts as zero. For an elapsed time
    of zero h is the mean of g and n, and after a long time one of them, by the sign of f. The
    output is h, which is always between -1 and 1.

    Parameters: (backbone_features or features) * (inputs - elapsed_time + features + 1)
    + 3 * features * ((backbone_features or features) + 1). The three heads stand side by side in
    the order f, g, n.

    State: [batch, features], of `param_dtype`. Inputs: [batch, inputs]. Outputs: [batch, features].

    Source: Hasani, Lechner, Amini, Liebenwein, Ray, Tschaikowski, Teschl, Rus, Closed-form
    continuous-time neural networks, Nature Machine Intelligence 4 (2022), arXiv:2106.13898. The
    backbone that f, g and n share is one layer. The paper's h is n here, because h is the state.

    Attributes:
      backbone_features: width of the backbone; 0 stands for features.
      elapsed_time: the last channel of the inputs is the time since the previous step.
      kernel_init: of W, `[inputs, backbone]`.
      recurrent_init: of R, `[features, backbone]`.
      head_init: of W_f, W_g and W_n as one matrix, `[backbone, 3 * features]`.
      bias_init: of b, and of the three heads' biases as one vector.
    """

    output_part: ClassVar[str | None] = ""

    backbone_features: int = 0
    elapsed_time: bool = False
    kernel_init: Initializer = nn.initializers.xavier_uniform()
    recurrent_init: Initializer = nn.initializers.orthogonal()
    head_init: Initializer = nn.initializers.xavier_uniform()
    bias_init: Initializer = nn.initializers.zeros

    def validate(self):
        """Checks the width of the backbone."""
        super().validate()
        if self.backbone_features < 0:
            raise InputError(
                f"backbone_features: given {self.backbone_features}, expected a size, or 0 for "
                "features"
            )

    def setup(self):
        size = self._size
        self.input = self.dense(size, kernel_init=self.kernel_init, bias_init=self.bias_init)
        self.recurrent_kernel = self.param(
            "recurrent_kernel", self.recurrent_init, (self.features, size), self.param_dtype
        )
        self.head_kernel = self.param(
            "head_kernel", self.head_init, (size, 3 * self.features), self.param_dtype
        )
        self.head_bias = self.param(
            "head_bias", self.bias_init, (3 * self.features,), self.param_dtype
        )

    def project(self, inputs):
        """Returns W x + b and the elapsed time, [..., backbone + 1]."""
        inputs, elapsed = split_elapsed_time(inputs, self.elapsed_time)
        projected = self.input(inputs)
        return jnp.concatenate([projected, elapsed.astype(projected.dtype)], axis=-1)

    def step(self, state, projected):
        """Returns the next state twice: it is the output as well."""
        inputs, elapsed = jnp.split(projected.astype(state.dtype), [self._size], axis=-1)
        recurrent = self.recurrent_product(state, self.recurrent_kernel).astype(state.dtype)
        backbone = 1.7159 * jnp.tanh((inputs + recurrent) * (2 / 3))
        heads = self.recurrent_product(backbone, self.head_kernel).astype(state.dtype)
        f, g, n = jnp.split(heads + match_rank(self.head_bias, heads), 3, axis=-1)
        gate = self.gate("time gate", sigmoid(-f * elapsed))
        new = gate * jnp.tanh(g) + (1 - gate) * jnp.tanh(n)
        return new, new.astype(projected.dtype)

    @property
    def _size(self) -> int:
        return self.backbone_features or self.features
