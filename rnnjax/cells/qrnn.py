"""Quasi-recurrent network: gates from a window of inputs, pooled over time."""

from typing import Literal, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from rnnjax.cells.base import Cell, Initializer
from rnnjax.kernels import sigmoid

Window = Literal[1, 2]
Pooling = Literal["f", "fo", "ifo"]
_GATES = {"i": "input gate", "f": "forget gate", "o": "output gate"}


class QRNNState(NamedTuple):
    """The state of a QRNN with a window of two: memory, and the projection of the last input."""

    cell: Float[Array, "*batch features"]
    previous: Float[Array, "*batch units"]


class QRNNCell(Cell):
    r"""Quasi-recurrent cell: z and its gates come from this input and the one before.

    .. math::
        z_t &= \tanh(W_z x_t + V_z x_{t-1} + b_z) \\
        i_t &= \sigma(W_i x_t + V_i x_{t-1} + b_i) \\
        f_t &= \sigma(W_f x_t + V_f x_{t-1} + b_f) \\
        o_t &= \sigma(W_o x_t + V_o x_{t-1} + b_o) \\
        c_t &= f_t c_{t-1} + i_t z_t \\
        h_t &= o_t c_t

    This is 'ifo' pooling. With 'fo' there is no i but 1 - f in its place; with 'f' there is no o
    either, and h is c. With a window of one there is no V. The output is h. Parameters:
    (len(pooling) + 1) * features * (window * inputs + 1). z and the gates stand side by side, z
    first, then in the order of the letters of the pooling.

    State: `QRNNState(cell, previous)` of `param_dtype`, [batch, features] and
    [batch, (len(pooling) + 1) * features]. previous is V x of the step before, zeros before the
    first one as the paper pads. Being state, it passes over masked steps, and a sequence may be cut
    anywhere. With a window of one the state is c alone. Inputs: [batch, inputs]. Outputs:
    [batch, features].

    Source: Bradbury, Merity, Xiong, Socher, Quasi-recurrent neural networks, ICLR 2017. The paper's
    equations have no bias, and it has wider windows over characters. Its zoneout
    (some f are 1 in training), dense connections and attention are not here.

    Attributes:
      window: inputs that a step sees: 1 or 2.
      pooling: the gates: 'f', 'fo' or 'ifo'.
      kernel_init: of W as one matrix, `[inputs, (len(pooling) + 1) * features]`, and of V.
      bias_init: of b as one vector.
    """

    window: Window = 2
    pooling: Pooling = "fo"
    kernel_init: Initializer = nn.initializers.xavier_uniform()
    bias_init: Initializer = nn.initializers.zeros

    @property
    def output_part(self) -> str | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Where c stands in the state, if it is the output."""
        if self.pooling != "f":
            return None
        return "" if self.window == 1 else "cell"

    @property
    def zoneout_parts(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Where c stands in the state: an input does not take another one's place."""
        return ("",) if self.window == 1 else ("cell",)

    def setup(self):
        options = {"kernel_init": self.kernel_init}
        self.input = self.dense(self._units, bias_init=self.bias_init, **options)
        if self.window == 2:
            self.previous = self.dense(self._units, use_bias=False, **options)

    def initial_state(self, input_shape):
        """Returns zeros for each part."""
        cell = super().initial_state(input_shape)
        if self.window == 1:
            return cell
        return QRNNState(cell, jnp.zeros((*input_shape[:-1], self._units), self.param_dtype))

    def project(self, inputs):
        """Returns W x + b, and beside it V x for the step after, if the window is two."""
        if self.window == 1:
            return self.input(inputs)
        return jnp.concatenate([self.input(inputs), self.previous(inputs)], axis=-1)

    def step(self, state, projected):
        """Returns the next state, and the output."""
        if self.window == 1:
            cell, output = self._pool(state, projected.astype(state.dtype))
            return cell, output.astype(projected.dtype)
        current, next_part = jnp.split(projected.astype(state.cell.dtype), 2, axis=-1)
        cell, output = self._pool(state.cell, current + state.previous)
        return QRNNState(cell, next_part), output.astype(projected.dtype)

    @property
    def _units(self) -> int:
        return (len(self.pooling) + 1) * self.features

    def _pool(self, cell, units):
        z, *gates = jnp.split(units, len(self.pooling) + 1, axis=-1)
        at = {
            letter: self.gate(_GATES[letter], sigmoid(gate))
            for letter, gate in zip(self.pooling, gates, strict=True)
        }
        cell = at["f"] * cell + at.get("i", 1 - at["f"]) * jnp.tanh(z)
        return cell, at.get("o", 1) * cell
