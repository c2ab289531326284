"""LSTM and GRU with layer normalisation inside the step."""

from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp

from rnnjax.cells.base import GatedCell, Initializer
from rnnjax.cells.biases import gate_bias
from rnnjax.cells.lstm import LSTMState
from rnnjax.kernels import sigmoid


class LayerNormLSTMCell(GatedCell):
    r"""Long short-term memory whose sums are normalised over the features.

    .. math::
        (i_t, f_t, g_t, o_t) &= \alpha_i N(W_i x_t) + \alpha_h N(W_h h_{t-1}) + b \\
        c_t &= \sigma(f_t) c_{t-1} + \sigma(i_t) d(\tanh(g_t)) \\
        h_t &= \sigma(o_t) \tanh(\alpha_c N(c_t) + b_c)

    N subtracts the mean of a vector and divides by its standard deviation, for the products over
    the four gates at once; d is the dropout of `GatedCell`, by default off. The output is h. The
    gates stand side by side in the order i, f, g, o.

    Parameters: features * (4 * (inputs + features + 3) + 2).

    State: `LSTMState(hidden, cell)`, each [batch, features], of `param_dtype`; the cell state is
    kept as it is before N. Inputs: [batch, inputs]. Outputs: [batch, features].

    Source: Ba, Kiros, Hinton, Layer normalization, 2016, arXiv:1607.06450. The paper adds a bias
    behind each of the two products; they are one with b.

    Attributes:
      epsilon: added to the variance.
      kernel_init: of the four input kernels as one matrix, `[inputs, 4 * features]`.
      recurrent_init: of the four recurrent kernels as one matrix, `[features, 4 * features]`.
      bias_init: of b; by default 1 for the forget gate.
    """

    output_part: ClassVar[str | None] = "hidden"

    epsilon: float = 1e-5
    kernel_init: Initializer = nn.initializers.xavier_uniform()
    recurrent_init: Initializer = nn.initializers.orthogonal()
    bias_init: Initializer = gate_bias()

    def setup(self):
        units = 4 * self.features
        self.input = self.dense(units, kernel_init=self.kernel_init, use_bias=False)
        self.input_norm = _norm(self, self.dtype, bias_init=self.bias_init)
        self.recurrent_kernel = self.param(
            "recurrent_kernel", self.recurrent_init, (self.features, units), self.param_dtype
        )
        self.recurrent_norm = _norm(self, self.param_dtype, use_bias=False)
        self.cell_norm = _norm(self, self.param_dtype)

    def initial_state(self, input_shape):
        """Returns zeros for both parts."""
        zeros = super().initial_state(input_shape)
        return LSTMState(hidden=zeros, cell=zeros)

    def project(self, inputs):
        """Returns the inputs' part of the four gates, normalised, [..., 4 * features]."""
        return self.input_norm(self.input(inputs))

    def step(self, state, projected):
        """Returns the next state and its hidden part."""
        product = self.recurrent_norm(self.recurrent_product(state.hidden, self.recurrent_kernel))
        i, f, g, o = jnp.split(projected.astype(product.dtype) + product, 4, axis=-1)
        remembered = self.gate("forget gate", sigmoid(f)) * state.cell
        cell = remembered + self.gate("input gate", sigmoid(i)) * self.dropped(jnp.tanh(g))
        hidden = self.gate("output gate", sigmoid(o)) * jnp.tanh(self.cell_norm(cell))
        return LSTMState(hidden, cell), hidden.astype(projected.dtype)


class LayerNormGRUCell(GatedCell):
    r"""Gated recurrent unit whose sums are normalised over the features.

    .. math::
        (r_t, z_t) &= \sigma(\alpha_i N(W_i x_t) + \alpha_h N(W_h h_{t-1}) + b) \\
        n_t &= \tanh(\alpha_{in} N(W_{in} x_t) + b_{in} +
               r_t (\alpha_{hn} N(W_{hn} h_{t-1}) + b_{hn})) \\
        h_t &= (1 - z_t) d(n_t) + z_t h_{t-1}

    N subtracts the mean of a vector and divides by its standard deviation, for r and z over both at
    once; d is the dropout of `GatedCell`, by default off. The output is h. The gates stand side by
    side in the order r, z, n.

    Parameters: features * (3 * (inputs + features) + 10).

    State: [batch, features], of `param_dtype`. Inputs: [batch, inputs]. Outputs: [batch, features].

    Source: Ba, Kiros, Hinton, Layer normalization, 2016, arXiv:1607.06450. The paper's z is 1 - z
    here, which is a change of sign of its gains and its bias. The paper adds a bias behind both
    products of r and z; they are one in b.

    Attributes:
      epsilon: added to the variance.
      kernel_init: of the three input kernels as one matrix, `[inputs, 3 * features]`.
      recurrent_init: of the three recurrent kernels as one matrix, `[features, 3 * features]`.
      bias_init: of b, of b_in, and of b_hn.
    """

    output_part: ClassVar[str | None] = ""

    epsilon: float = 1e-5
    kernel_init: Initializer = nn.initializers.xavier_uniform()
    recurrent_init: Initializer = nn.initializers.orthogonal()
    bias_init: Initializer = nn.initializers.zeros

    def setup(self):
        units = 3 * self.features
        self.input = self.dense(units, kernel_init=self.kernel_init, use_bias=False)
        self.input_norm = _norm(self, self.dtype, bias_init=self.bias_init)
        self.input_norm_new = _norm(self, self.dtype, bias_init=self.bias_init)
        self.recurrent_kernel = self.param(
            "recurrent_kernel", self.recurrent_init, (self.features, units), self.param_dtype
        )
        self.recurrent_norm = _norm(self, self.param_dtype, use_bias=False)
        self.recurrent_norm_new = _norm(self, self.param_dtype, bias_init=self.bias_init)

    def project(self, inputs):
        """Returns the inputs' part of the three gates, normalised, [..., 3 * features]."""
        gates, new = self._split(self.input(inputs))
        return jnp.concatenate([self.input_norm(gates), self.input_norm_new(new)], axis=-1)

    def step(self, state, projected):
        """Returns the next state twice: it is the output as well."""
        input_gates, input_new = self._split(projected.astype(state.dtype))
        gates, new = self._split(self.recurrent_product(state, self.recurrent_kernel))
        r, z = jnp.split(sigmoid(input_gates + self.recurrent_norm(gates)), 2, axis=-1)
        r, z = self.gate("reset gate", r), self.gate("update gate (1 keeps)", z)
        n = jnp.tanh(input_new + r * self.recurrent_norm_new(new))
        new = (1 - z) * self.dropped(n) + z * state
        return new, new.astype(projected.dtype)

    def _split(self, units):
        return jnp.split(units, [2 * self.features], axis=-1)


def _norm(cell: LayerNormLSTMCell | LayerNormGRUCell, dtype: Any, **options: Any) -> nn.LayerNorm:
    """Returns a normalisation whose result has `dtype`, its statistics at least float32."""
    return nn.LayerNorm(
        epsilon=cell.epsilon,
        dtype=dtype,
        param_dtype=cell.param_dtype,
        use_fast_variance=False,  # a difference of squares, which a large mean cancels
        **options,
    )
