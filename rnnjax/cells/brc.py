"""The bistable recurrent cell, and its neuromodulated version."""

from typing import ClassVar, Literal

import flax.linen as nn
import jax.numpy as jnp

from rnnjax.cells.base import GatedCell, Initializer, symmetric_uniform
from rnnjax.kernels import match_rank, sigmoid


class BRCCell(GatedCell):
    r"""Bistable recurrent cell: each unit can hold one of two values for ever.

    .. math::
        a_t &= 1 + \tanh(U_a x_t + w_a \odot h_{t-1} + b_a) \\
        c_t &= \sigma(U_c x_t + w_c \odot h_{t-1} + b_c) \\
        h_t &= c_t h_{t-1} + (1 - c_t) d(\tanh(U x_t + a_t h_{t-1} + b))

    d is the dropout of `GatedCell`, by default off. The output is h. Without inputs a unit has one
    stable value, zero, where a is at most 1, and two, one on each side of zero, where it is above.
    With `neuromodulated=True` (nBRC) matrices stand in the place of the vectors w_a and w_c.

    Parameters: 3 * features * (inputs + 1) + 2 * features * (features if neuromodulated else 1).
    The input kernels and the biases stand side by side in the order a, c, h, the recurrent ones in
    the order a, c.

    State: [batch, features], of `param_dtype`. Inputs: [batch, inputs]. Outputs: [batch, features].

    Source: Vecoven, Ernst, Drion, A bio-inspired bistable recurrent cell allows for long-lasting
    memory, PLOS ONE 16 (2021), arXiv:2006.05252. Its equations have no biases; those here begin at
    zero.

    Attributes:
      neuromodulated: whether a and c see the states of all units.
      kernel_init: of the three input kernels as one matrix, `[inputs, 3 * features]`.
      recurrent_init: of w_a and w_c as one vector, `[2 * features]`, or one matrix,
        `[features, 2 * features]`. None: uniform between -1 and 1, or orthogonal.
      bias_init: of the three biases as one vector.
    """

    output_part: ClassVar[str | None] = ""

    neuromodulated: bool = False
    kernel_init: Initializer = nn.initializers.xavier_uniform()
    recurrent_init: Initializer | None = None
    bias_init: Initializer = nn.initializers.zeros

    @property
    def jacobian(self) -> Literal["dense", "blocks"]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Diagonal, unless the gates see the states of all units."""
        return "dense" if self.neuromodulated else "blocks"

    def setup(self):
        self.input = self.dense(
            3 * self.features, kernel_init=self.kernel_init, bias_init=self.bias_init
        )
        shape, init = (2 * self.features,), symmetric_uniform(1.0)
        if self.neuromodulated:
            shape, init = (self.features, 2 * self.features), nn.initializers.orthogonal()
        self.recurrent_kernel = self.param(
            "recurrent_kernel", self.recurrent_init or init, shape, self.param_dtype
        )

    def project(self, inputs):
        """Returns the inputs' part of a, c and the candidate, [..., 3 * features]."""
        return self.input(inputs)

    def step(self, state, projected):
        """Returns the next state twice: it is the output as well."""
        input_gates, input_new = jnp.split(
            projected.astype(state.dtype), [2 * self.features], axis=-1
        )
        if self.neuromodulated:
            gates = self.recurrent_product(state, self.recurrent_kernel).astype(state.dtype)
        else:
            states = jnp.concatenate([state, state], axis=-1)
            gates = match_rank(self.recurrent_kernel, states) * states
        a, c = jnp.split(input_gates + gates, 2, axis=-1)
        # 1 + tanh(a) is twice the logistic function of 2 a.
        a = 2 * self.gate("feedback gate (above 1/2 is bistable)", sigmoid(2 * a))
        c = self.gate("update gate (1 keeps)", sigmoid(c))
        new = c * state + (1 - c) * self.dropped(jnp.tanh(input_new + a * state))
        return new, new.astype(projected.dtype)
