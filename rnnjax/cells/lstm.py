"""Long short-term memory."""

from typing import ClassVar, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jaxtyping import Array, Float

from rnnjax.cells.base import GatedCell, Initializer
from rnnjax.cells.biases import gate_bias
from rnnjax.errors import InputError
from rnnjax.kernels import fused_lstm, match_rank, sigmoid


class LSTMState(NamedTuple):
    """The state of an LSTM: hidden state (the output) and cell state (the memory)."""

    hidden: Float[Array, "*batch features"]
    cell: Float[Array, "*batch features"]


class LSTMCell(GatedCell):
    r"""Long short-term memory with a forget gate, plain by default.

    .. math::
        i_t &= \sigma(W_{ii} x_t + W_{hi} h_{t-1} + p_i c_{t-1} + b_i) \\
        f_t &= \sigma(W_{if} x_t + W_{hf} h_{t-1} + p_f c_{t-1} + b_f) \\
        g_t &= \tanh(W_{ig} x_t + W_{hg} h_{t-1} + b_g) \\
        c_t &= f_t c_{t-1} + i_t d(g_t) \\
        o_t &= \sigma(W_{io} x_t + W_{ho} h_{t-1} + p_o c_t + b_o) \\
        h_t &= W_p (o_t \tanh(c_t))

    Plain, there is no p and W_p is the identity; so is d, the dropout of `GatedCell`. The output is
    h. The four gates stand side by side in the order i, f, g, o, as in Keras and PyTorch; PyTorch
    has a second bias. With `coupled` there is no i in that order, and :math:`i_t = 1 - f_t`.

    Parameters: features * ((4 - coupled) * (inputs + (projection or features) + 1)
    + (3 - coupled) * peepholes + projection).

    State: `LSTMState(hidden, cell)`, hidden [batch, projection or features], cell
    [batch, features], of `param_dtype`. Inputs: [batch, inputs]. Outputs: as hidden.

    Source: Hochreiter, Schmidhuber, Long short-term memory, Neural Computation 9 (1997), with the
    forget gate of Gers, Schmidhuber, Cummins, Learning to forget, Neural Computation 12 (2000).
    Those of the options stand with them. With options 'scan' is the only engine.

    Attributes:
      peepholes: the gates see the cell state through the weights p, one a feature, o the new one.
        Gers, Schraudolph, Schmidhuber, Learning precise timing with LSTM recurrent networks, JMLR 3
        (2002).
      projection: features of h, which W_p then maps from those of c, as PyTorch's `proj_size`; 0 is
        off. Sak, Senior, Beaufays, Long short-term memory recurrent neural network architectures
        for large scale acoustic modeling, Interspeech 2014, whose cell has peepholes as well.
      coupled: one gate forgets and lets in. Greff et al., LSTM: a search space odyssey, IEEE
        Transactions on Neural Networks and Learning Systems 28 (2017), where f is 1 - i.
      kernel_init: of the four input kernels as one matrix, `[inputs, 4 * features]`, with `coupled`
        three; W_p begins by it as well.
      recurrent_init: of the four recurrent kernels as one matrix, `[projection or features,
        4 * features]`, with `coupled` three.
      bias_init: of the four biases as one vector; by default 1 for the forget gate. With `coupled`
        the part of i is left out.
      peephole_init: of p, `[3, features]` in the order i, f, o, with `coupled` `[2, features]`; by
        default the cell begins as if it had none.
    """

    output_part: ClassVar[str | None] = "hidden"

    peepholes: bool = False
    projection: int = 0
    coupled: bool = False
    kernel_init: Initializer = nn.initializers.xavier_uniform()
    recurrent_init: Initializer = nn.initializers.orthogonal()
    bias_init: Initializer = gate_bias()
    peephole_init: Initializer = nn.initializers.zeros

    def validate(self):
        """Checks the projection."""
        super().validate()
        if not isinstance(self.projection, int) or self.projection < 0:
            raise InputError(
                f"projection: given {self.projection!r}, expected the features of the output, or "
                "0, which is off"
            )

    def setup(self):
        units = (4 - self.coupled) * self.features
        bias_init = _without_input_gate(self.bias_init) if self.coupled else self.bias_init
        self.input = self.dense(units, kernel_init=self.kernel_init, bias_init=bias_init)
        shape = (self.projection or self.features, units)
        self.recurrent_kernel = self.param(
            "recurrent_kernel", self.recurrent_init, shape, self.param_dtype
        )
        if self.peepholes:
            self.recurrent_kernel_peepholes = self.param(
                "recurrent_kernel_peepholes",
                self.peephole_init,
                (3 - self.coupled, self.features),
                self.param_dtype,
            )
        if self.projection:
            self.projection_kernel = self.param(
                "projection_kernel",
                self.kernel_init,
                (self.features, self.projection),
                self.param_dtype,
            )

    def initial_state(self, input_shape):
        """Returns zeros for both parts."""
        cell = super().initial_state(input_shape)
        hidden = jnp.zeros((*cell.shape[:-1], self.projection or self.features), cell.dtype)
        return LSTMState(hidden, cell)

    def project(self, inputs):
        """Returns the inputs' part of the gates, [..., 4 * features], with `coupled` of three."""
        return self.input(inputs)

    def step(self, state, projected):
        """Returns the next state and its hidden part."""
        dtype = state.cell.dtype
        gates = projected + self.recurrent_product(state.hidden, self.recurrent_kernel)
        *input_forget, g, o = jnp.split(gates.astype(dtype), 4 - self.coupled, axis=-1)
        if self.peepholes:
            peepholes = (match_rank(row, state.cell) for row in self.recurrent_kernel_peepholes)
            *input_forget_peepholes, output_peephole = peepholes
            input_forget = [
                z + p * state.cell
                for z, p in zip(input_forget, input_forget_peepholes, strict=True)
            ]
        f = self.gate("forget gate", sigmoid(input_forget[-1]))
        i = self.gate("input gate", 1 - f if self.coupled else sigmoid(input_forget[0]))
        cell = f * state.cell + i * self.dropped(jnp.tanh(g))
        if self.peepholes:
            o = o + output_peephole * cell
        hidden = self.gate("output gate", sigmoid(o)) * jnp.tanh(cell)
        if self.projection:
            # The sum keeps the state's dtype, or the hidden state would be rounded to `dtype`.
            projected_hidden, kernel = promote_dtype(
                hidden, self.projection_kernel, dtype=self.dtype
            )
            hidden = jnp.matmul(projected_hidden, kernel, preferred_element_type=dtype)
        return LSTMState(hidden, cell), hidden.astype(projected.dtype)

    @property
    def fusible(self) -> bool:
        """Whether the cell is plain: the engines of whole sequences know none of the options."""
        return not (self.peepholes or self.projection or self.coupled or self.update_dropout)

    def fused(self, state, projected, mask, reverse, resets=None, reset_state=None):
        """Returns the final state and the outputs of a whole sequence, by `kernels.lstm`."""
        self._require_plain()
        kernel = self.recurrent_kernel
        final, outputs = fused_lstm(projected, kernel, state, mask, reverse, resets, reset_state)
        return LSTMState(*final), outputs

    def pallas(self, state, projected, mask, reverse):
        """Returns the final state and the outputs of a whole sequence, by a kernel for a GPU."""
        from rnnjax.kernels import pallas_lstm

        self._require_plain()
        final, outputs = pallas_lstm.pallas_lstm_scan(
            projected, self.recurrent_kernel, state, mask, reverse
        )
        return LSTMState(*final), outputs

    def cudnn(self, state, inputs, mask, reverse):
        """Returns the final state and the outputs of a whole sequence, by NVIDIA's library.

        It projects the inputs itself.
        """
        from rnnjax.kernels import cudnn

        self._require_plain()
        if self.is_initializing():
            self.project(inputs)  # It makes the parameters.
        kernel, bias = (self.input.variables["params"][name] for name in ("kernel", "bias"))
        inputs, kernel, bias, recurrent_kernel = promote_dtype(
            inputs, kernel, bias, self.recurrent_kernel, dtype=self.dtype
        )
        final, outputs = cudnn.cudnn_lstm(
            inputs, kernel, recurrent_kernel, bias, state, mask, reverse
        )
        return LSTMState(*final), outputs

    def _require_plain(self):
        if not self.fusible:
            raise InputError(
                "given an LSTMCell with options, expected a plain one; run it by the engine 'scan'"
            )


def _without_input_gate(bias_init: Initializer) -> Initializer:
    """Returns an initializer of f, g, o that slices one of i, f, g, o."""

    def init(key, shape, dtype=jnp.float32, out_sharding=None):
        del out_sharding
        features = shape[0] // 3
        return bias_init(key, (4 * features,), dtype)[features:]

    return init
