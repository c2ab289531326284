"""The LSTM with exponential gates and a scalar memory."""

from typing import ClassVar, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jaxtyping import Array, Float

from rnnjax.cells.base import GatedCell, Initializer
from rnnjax.cells.biases import gate_bias
from rnnjax.errors import InputError
from rnnjax.kernels import sigmoid

ForgetGate = Literal["sigmoid", "exponential"]


class SLSTMState(NamedTuple):
    """The state of an sLSTM; cell and normalizer are to be multiplied by exp(stabilizer)."""

    hidden: Float[Array, "*batch features"]
    cell: Float[Array, "*batch features"]
    normalizer: Float[Array, "*batch features"]
    stabilizer: Float[Array, "*batch features"]


class SLSTMCell(GatedCell):
    r"""Long short-term memory with an exponential input gate and a normaliser.

    .. math::
        (\tilde i_t, \tilde f_t, \tilde z_t, \tilde o_t) &= W x_t + R h_{t-1} + b \\
        i_t &= \exp(\tilde i_t) \\
        f_t &= \sigma(\tilde f_t) \text{ or } \exp(\tilde f_t) \\
        c_t &= f_t c_{t-1} + i_t d(\tanh(\tilde z_t)) \\
        n_t &= f_t n_{t-1} + i_t \\
        h_t &= \sigma(\tilde o_t) c_t / n_t

    d is the dropout of `GatedCell`, by default off. The output is h. An exponential may overflow,
    so c and n are kept divided by :math:`\exp(m_t)`, which leaves h as it is:

    .. math::
        m_t &= \max(\log f_t + m_{t-1}, \tilde i_t) \\
        i'_t &= \exp(\tilde i_t - m_t) \\
        f'_t &= \exp(\log f_t + m_{t-1} - m_t)

    Where n is zero there is no memory yet, and :math:`m_t = \tilde i_t, f'_t = 0`: the first step
    is exact whatever the gates are, and from there on n is at least 1. R mixes the memories of a
    head; it is block-diagonal if there are several.

    Parameters: 4 * features * (inputs + features // heads + 1). The four gates stand side by side
    in the order i, f, z, o.

    State: `SLSTMState(hidden, cell, normalizer, stabilizer)`, each [batch, features], of
    `param_dtype`. Inputs: [batch, inputs]. Outputs: [batch, features].

    Source: Beck et al., xLSTM: extended long short-term memory, NeurIPS 2024. The paper gives no
    m_0; the rule for the first step is the limit of m_0 towards minus infinity. Its convolution
    before the gates and its normalisation of the heads are layers of their own, not the cell.

    Attributes:
      heads: blocks of R; they divide `features`.
      forget_gate: 'sigmoid' or 'exponential'.
      kernel_init: of the four input kernels as one matrix, `[inputs, 4 * features]`.
      recurrent_init: of the four recurrent kernels of each head as one matrix,
        `[features // heads, 4 * features // heads]`; they are kept as `[heads, ...]`.
      bias_init: of the four biases as one vector. None: 1 for a sigmoid forget gate, zero
        elsewhere; an exponential one with bias zero neither fades its memory nor lets it grow.
    """

    output_part: ClassVar[str | None] = "hidden"
    zoneout_parts: ClassVar[tuple[str, ...]] = ("hidden",)  # the others count by one stabilizer

    heads: int = 1
    forget_gate: ForgetGate = "sigmoid"
    kernel_init: Initializer = nn.initializers.xavier_uniform()
    recurrent_init: Initializer = nn.initializers.orthogonal()
    bias_init: Initializer | None = None

    def validate(self):
        """Checks the number of heads."""
        super().validate()
        if self.heads < 1 or self.features % self.heads:
            raise InputError(
                f"heads: given {self.heads}, expected a divisor of features = {self.features}"
            )

    def setup(self):
        bias = gate_bias(1.0 if self.forget_gate == "sigmoid" else 0.0)
        self.input = self.dense(
            4 * self.features, kernel_init=self.kernel_init, bias_init=self.bias_init or bias
        )
        size = self.features // self.heads

        def each_head(key, shape, dtype):
            return jax.vmap(lambda key: self.recurrent_init(key, shape[1:], dtype))(
                jax.random.split(key, shape[0])
            )

        self.recurrent_kernel = self.param(
            "recurrent_kernel", each_head, (self.heads, size, 4 * size), self.param_dtype
        )

    def initial_state(self, input_shape):
        """Returns zeros for all parts."""
        zeros = super().initial_state(input_shape)
        return SLSTMState(hidden=zeros, cell=zeros, normalizer=zeros, stabilizer=zeros)

    def project(self, inputs):
        """Returns the inputs' part of the four gates, [..., 4 * features]."""
        return self.input(inputs)

    def step(self, state, projected):
        """Returns the next state and its hidden part."""
        gates = projected + self._mix(state.hidden)
        i, f, z, o = jnp.split(gates.astype(state.cell.dtype), 4, axis=-1)
        log_f = jax.nn.log_sigmoid(f) if self.forget_gate == "sigmoid" else f
        log_forget = jnp.where(state.normalizer > 0, log_f + state.stabilizer, -jnp.inf)
        stabilizer = jnp.maximum(log_forget, i)
        i = self.gate("input gate (stabilized)", jnp.exp(i - stabilizer))
        f = self.gate("forget gate (stabilized)", jnp.exp(log_forget - stabilizer))
        cell = f * state.cell + i * self.dropped(jnp.tanh(z))
        normalizer = f * state.normalizer + i
        hidden = self.gate("output gate", sigmoid(o)) * cell / normalizer
        new = SLSTMState(hidden, cell, normalizer, stabilizer)
        return new, hidden.astype(projected.dtype)

    def _mix(self, hidden):
        hidden, kernel = promote_dtype(hidden, self.recurrent_kernel, dtype=self.dtype)
        heads = hidden.reshape(*hidden.shape[:-1], self.heads, -1)
        gates = jnp.einsum("...hi,hij->...hj", heads, kernel)
        # [..., heads, 4 * size] to [..., 4, heads, size]: gates side by side over all heads.
        gates = gates.reshape(*heads.shape[:-1], 4, -1).swapaxes(-3, -2)
        return gates.reshape(*hidden.shape[:-1], 4 * self.features)
