"""Gated recurrent unit."""

from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp

from rnnjax.cells.base import GatedCell, Initializer
from rnnjax.errors import InputError
from rnnjax.kernels import fused_gru, match_rank, sigmoid


class GRUCell(GatedCell):
    r"""Gated recurrent unit, the reset gate after or before the recurrent product.

    .. math::
        r_t &= \sigma(W_{ir} x_t + b_{ir} + W_{hr} h_{t-1} + b_{hr}) \\
        z_t &= \sigma(W_{iz} x_t + b_{iz} + W_{hz} h_{t-1} + b_{hz}) \\
        n_t &= \tanh(W_{in} x_t + b_{in} + r_t (W_{hn} h_{t-1} + b_{hn})) \\
        h_t &= (1 - z_t) d(n_t) + z_t h_{t-1}

    With `reset_after=False` there are no b_h and :math:`n_t = \tanh(W_{in} x_t + b_{in} + W_{hn}
    (r_t h_{t-1}))`. d is the dropout of `GatedCell`, by default off. The output is h. The three
    gates stand side by side in the order r, z, n, as in PyTorch and flax; Keras has z, r, n.

    Parameters: 3 * features * (inputs + features + 1 + reset_after).

    State: [batch, features], of `param_dtype`. Inputs: [batch, inputs]. Outputs: [batch, features].

    Source: Cho et al., Learning phrase representations using RNN encoder-decoder, EMNLP 2014, has
    the reset gate before the product; after it, where one product serves all gates, is the
    variant of cuDNN, and the default of Keras and PyTorch. The paper's z is 1 - z here.

    Attributes:
      reset_after: the reset gate scales the product with the state, not the state.
      kernel_init: of the three input kernels as one matrix, `[inputs, 3 * features]`.
      recurrent_init: of the three recurrent kernels as one matrix, `[features, 3 * features]`.
      bias_init: of b_i.
      recurrent_bias_init: of b_h.
    """

    output_part: ClassVar[str | None] = ""

    reset_after: bool = True
    kernel_init: Initializer = nn.initializers.xavier_uniform()
    recurrent_init: Initializer = nn.initializers.orthogonal()
    bias_init: Initializer = nn.initializers.zeros
    recurrent_bias_init: Initializer = nn.initializers.zeros

    def setup(self):
        units = 3 * self.features
        self.input = self.dense(units, kernel_init=self.kernel_init, bias_init=self.bias_init)
        self.recurrent_kernel = self.param(
            "recurrent_kernel", self.recurrent_init, (self.features, units), self.param_dtype
        )
        if self.reset_after:
            self.recurrent_bias = self.param(
                "recurrent_bias", self.recurrent_bias_init, (units,), self.param_dtype
            )

    def project(self, inputs):
        """Returns the inputs' part of the three gates, [..., 3 * features]."""
        return self.input(inputs)

    def step(self, state, projected):
        """Returns the next state twice: it is the output as well."""
        input_gates, input_new = self._split(projected.astype(state.dtype))
        if self.reset_after:
            product = self.recurrent_product(state, self.recurrent_kernel).astype(state.dtype)
            product = product + match_rank(self.recurrent_bias, product)
            state_gates, state_new = self._split(product)
            r, z = self._gates(input_gates + state_gates)
            n = jnp.tanh(input_new + r * state_new)
        else:
            kernel_gates, kernel_new = self._split(self.recurrent_kernel)
            state_gates = self.recurrent_product(state, kernel_gates).astype(state.dtype)
            r, z = self._gates(input_gates + state_gates)
            state_new = self.recurrent_product(r * state, kernel_new).astype(state.dtype)
            n = jnp.tanh(input_new + state_new)
        new = ((1 - z) * self.dropped(n) + z * state).astype(state.dtype)
        return new, new.astype(projected.dtype)

    @property
    def fusible(self) -> bool:
        """Whether the cell is plain: the engines of whole sequences know none of the options."""
        return self.reset_after and not self.update_dropout

    def fused(self, state, projected, mask, reverse, resets=None, reset_state=None):
        """Returns the final state and the outputs of a whole sequence, by `kernels.gru`."""
        arguments = state, mask, reverse, resets, reset_state
        return fused_gru(projected, *self._recurrent(), *arguments)

    def pallas(self, state, projected, mask, reverse):
        """Returns the final state and the outputs of a whole sequence, by a kernel for a GPU."""
        from rnnjax.kernels import pallas_gru

        return pallas_gru.pallas_gru_scan(projected, *self._recurrent(), state, mask, reverse)

    def _recurrent(self):
        if not self.fusible:
            raise InputError(
                "given a GRUCell that resets before the product or has a dropout, expected "
                "neither; run it by the engine 'scan'"
            )
        return self.recurrent_kernel, self.recurrent_bias

    def _gates(self, units):
        r, z = jnp.split(sigmoid(units), 2, axis=-1)
        return self.gate("reset gate", r), self.gate("update gate (1 keeps)", z)

    def _split(self, units):
        return jnp.split(units, [2 * self.features], axis=-1)
