"""Minimal gated unit."""

from typing import ClassVar, Literal

import flax.linen as nn
import jax.numpy as jnp

from rnnjax.cells.base import GatedCell, Initializer
from rnnjax.cells.biases import gate_bias
from rnnjax.kernels import match_rank, sigmoid

Reset = Literal["after", "before", "none"]


class MGUCell(GatedCell):
    r"""Minimal gated unit: a GRU whose one gate forgets and resets.

    .. math::
        f_t &= \sigma(W_{if} x_t + b_{if} + W_{hf} h_{t-1}) \\
        n_t &= \tanh(W_{in} x_t + b_{in} + f_t (W_{hn} h_{t-1} + b_{hn})) \\
        h_t &= (1 - f_t) d(n_t) + f_t h_{t-1}

    d is the dropout of `GatedCell`, by default off. The output is h. The two stand side by side in
    the order f, n.

    Parameters: features * (2 * (inputs + features + 1) + (reset == "after")).

    State: [batch, features], of `param_dtype`. Inputs: [batch, inputs]. Outputs: [batch, features].

    Source: Zhou, Wu, Zhang, Zhou, Minimal gated unit for recurrent neural networks, International
    Journal of Automation and Computing 13 (2016). The default is flax's cell. The paper's is
    `MGUCell(reset='before', f_keeps=False)`; no weights make one of the other, because a gate that
    keeps the state here shuts it out of n there.

    Attributes:
      reset: where f scales the state in n: 'after' the product; 'before' it, :math:`n_t =
        \tanh(W_{in} x_t + b_{in} + W_{hn} (f_t h_{t-1}))`, without b_hn; or 'none', nowhere, again
        without b_hn (flax's `reset_gate=False`).
      f_keeps: f weighs the old state and 1 - f the new one; False turns that round.
      kernel_init: of the two input kernels as one matrix, `[inputs, 2 * features]`.
      recurrent_init: of the two recurrent kernels as one matrix, `[features, 2 * features]`.
      bias_init: of b_i as one vector; by default 1 for f.
    """

    output_part: ClassVar[str | None] = ""

    reset: Reset = "after"
    f_keeps: bool = True
    kernel_init: Initializer = nn.initializers.xavier_uniform()
    recurrent_init: Initializer = nn.initializers.orthogonal()
    bias_init: Initializer = gate_bias(gate=0, gates=2)

    def setup(self):
        units = 2 * self.features
        self.input = self.dense(units, kernel_init=self.kernel_init, bias_init=self.bias_init)
        self.recurrent_kernel = self.param(
            "recurrent_kernel", self.recurrent_init, (self.features, units), self.param_dtype
        )
        if self.reset == "after":
            self.recurrent_bias = self.param(
                "recurrent_bias", nn.initializers.zeros, (self.features,), self.param_dtype
            )

    def project(self, inputs):
        """Returns the inputs' part of f and n, [..., 2 * features]."""
        return self.input(inputs)

    def step(self, state, projected):
        """Returns the next state twice: it is the output as well."""
        input_f, input_n = jnp.split(projected.astype(state.dtype), 2, axis=-1)
        if self.reset == "before":
            kernel_f, kernel_n = jnp.split(self.recurrent_kernel, 2, axis=-1)
            f = self._gate(input_f + self.recurrent_product(state, kernel_f).astype(state.dtype))
            state_n = self.recurrent_product(f * state, kernel_n).astype(state.dtype)
        else:
            product = self.recurrent_product(state, self.recurrent_kernel).astype(state.dtype)
            state_f, state_n = jnp.split(product, 2, axis=-1)
            f = self._gate(input_f + state_f)
            if self.reset == "after":
                state_n = f * (state_n + match_rank(self.recurrent_bias, state_n))
        n = jnp.tanh(input_n + state_n)
        keep = f if self.f_keeps else 1 - f
        new = ((1 - keep) * self.dropped(n) + keep * state).astype(state.dtype)
        return new, new.astype(projected.dtype)

    def _gate(self, units):
        return self.gate("forget gate" if self.f_keeps else "update gate", sigmoid(units))
