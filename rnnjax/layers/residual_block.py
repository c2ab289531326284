"""The block around a recurrent cell, of which networks of linear and matrix states are stacked."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from rnnjax.cells import State
from rnnjax.cells.base import require_rate
from rnnjax.errors import InputError
from rnnjax.kernels import flat_dot_general
from rnnjax.kernels.masking import zero_masked
from rnnjax.layers.convolution import CausalConvolution
from rnnjax.layers.engines import Engine
from rnnjax.layers.masks import last_output
from rnnjax.layers.rnn import RNN
from rnnjax.layers.validation import require_arrays, require_cell, require_states


class ResidualBlock(nn.Module):
    r"""Runs a cell between a norm and a projection, and adds the result to the inputs.

    .. math::
        n &= \mathrm{RMSNorm}(x) \\
        u &= \mathrm{SiLU}(\mathrm{Conv}(W_u n)) \\
        y &= \mathrm{GroupNorm}(\mathrm{RNN}(u)) \odot \mathrm{SiLU}(W_g n) \\
        x' &= x + W_o y \\
        x'' &= x' + W_2 (\mathrm{SiLU}(W_1 m) \odot W_3 m), \quad m = \mathrm{RMSNorm}(x')

    Every part but the norm, the cell and :math:`W_o` is an option. The masks, the resets and the
    carried states are those of `RNN`, for the convolution as well; outputs at masked steps are
    zero. The inputs of the first block of a stack are projected to the size of the sum. After the
    last block networks have one more norm.

    State: a pair for each direction, that of the convolution, `()` without one, and the cell's.

    Source: Gu, Dao, Mamba, 2023, arXiv:2312.00752, for the convolution and the gate; Beck et al.,
    xLSTM, NeurIPS 2024, arXiv:2405.04517, and Yang, Kautz, Hatamizadeh, Gated delta networks, ICLR
    2025, arXiv:2412.06464, for the norm of the heads; Shazeer, GLU variants improve transformer,
    2020, arXiv:2002.05202, for the feed-forward layer; Zhang, Sennrich, Root mean square layer
    normalization, NeurIPS 2019. The convolution is on what the cell reads: where a paper has
    one on its queries, keys and values, this one is before their projections.

    Attributes:
      cell: as for `RNN`.
      features: size of the inputs and outputs, which are added.
      inner: size of :math:`W_u n`; 0 for the cell to read n.
      convolution: steps of the causal convolution; 0 for none.
      groups: of the norm of the cell's outputs, the heads say; 0 for none.
      gate: whether the cell's outputs are gated.
      feed_forward: size between the projections of the feed-forward layer; 0 for none.
      dropout: rate on what is added, from the rng stream 'dropout'; a call without it is an
        evaluation.
      bidirectional: also run the convolution and a copy of the cell from the last step to the
        first; :math:`W_o` reads the outputs of both.
      return_sequences: as for `RNN`. Otherwise each direction gives the output that it computes
        last, which is added to the inputs of the last real step.
      engine: as for `RNN`.
      remat: as for `RNN`.
      dtype: of the computation.

    Raises:
      InputError: a size is negative, or the rate is out of [0, 1).
    """

    cell: nn.Module
    features: int
    inner: int = 0
    convolution: int = 0
    groups: int = 0
    gate: bool = False
    feed_forward: int = 0
    dropout: float = 0.0
    bidirectional: bool = False
    return_sequences: bool = True
    engine: Engine = "auto"
    remat: bool = False
    dtype: Any = None

    def __post_init__(self):
        if self.features < 1:
            raise InputError(f"features: given {self.features}, expected 1 or more")
        for name in ("inner", "convolution", "groups", "feed_forward"):
            if getattr(self, name) < 0:
                raise InputError(
                    f"{name}: given {getattr(self, name)}, expected a size, or 0 for none"
                )
        require_rate("dropout", self.dropout)
        super().__post_init__()

    @nn.compact
    def __call__(
        self,
        inputs: Float[Array, "batch time inputs"],
        mask: Bool[Array, "batch time"] | None = None,
        initial_state: tuple[Any, ...] | None = None,
        resets: Bool[Array, "batch time"] | None = None,
    ) -> tuple[tuple[Any, ...], Float[Array, "batch ..."]]:
        """Returns the final states and the outputs.

        Args:
          inputs: as for `RNN`.
          mask: as for `RNN`.
          initial_state: a pair for each direction; None for zeros and the cell's initial state.
          resets: as for `RNN`.

        Raises:
          InputError: `groups` does not divide the features of the cell's outputs, or as `RNN`
            raises it.
        """
        require_cell(self.cell)
        require_arrays(inputs, mask=mask, resets=resets)
        directions = ("forward", "backward") if self.bidirectional else ("forward",)
        states = [None] * len(directions) if initial_state is None else initial_state
        require_states(states, len(directions), "a pair of states for each direction")
        stream = zero_masked(inputs, mask)
        if stream.shape[-1] != self.features:
            stream = self._dense("embed", self.features)(stream)

        normalized = self._norm("norm")(stream)
        values = normalized
        if self.inner:
            values = self._dense("inner_projection", self.inner)(values)
        finals, outputs = zip(
            *(
                self._run(name, values, mask, state, resets)
                for name, state in zip(directions, states, strict=True)
            ),
            strict=True,
        )
        mixed = jnp.concatenate(outputs, axis=-1)
        if not self.return_sequences:
            stream, normalized = (last_output(values, mask) for values in (stream, normalized))
        if self.gate:
            gate = self._dense("gate_projection", mixed.shape[-1])(normalized)
            mixed = mixed * jax.nn.silu(gate)
        stream += self._drop(self._dense("output_projection", self.features)(mixed))
        if self.feed_forward:
            stream += self._drop(self._feed_forward(self._norm("feed_forward_norm")(stream)))
        if mask is not None and not self.return_sequences:
            mask = mask.any(axis=1)
        return finals, zero_masked(stream, mask)

    def _run(
        self,
        direction: str,
        values: jax.Array,
        mask: jax.Array | None,
        initial_state: tuple[Any, State] | None,
        resets: jax.Array | None,
    ) -> tuple[tuple[Any, State], jax.Array]:
        """Returns the states and the outputs of convolution, cell and norm in one direction."""
        history, cell_state = (None, None) if initial_state is None else initial_state
        reverse = direction == "backward"
        if self.convolution:
            convolution = CausalConvolution(
                self.convolution, reverse, dtype=self.dtype, name=f"{direction}_convolution"
            )
            history, values = convolution(values, mask, history, resets)
            values = jax.nn.silu(values)
        else:
            history = ()
        layer = RNN(
            self.cell.copy(parent=None, name=None),
            reverse=reverse,
            return_sequences=self.return_sequences,
            engine=self.engine,
            remat=self.remat,
            name=direction,
        )
        final, outputs = layer(values, mask, cell_state, resets)
        if self.groups:
            if outputs.shape[-1] % self.groups:
                raise InputError(
                    f"groups: given {self.groups}, expected a divisor of the {outputs.shape[-1]} "
                    "features of the cell's outputs"
                )
            outputs = nn.GroupNorm(
                self.groups,
                reduction_axes=(-1,),
                dtype=self.dtype,
                name=f"{direction}_group_norm",
            )(outputs)
        return (history, final), outputs

    def _feed_forward(self, values: jax.Array) -> jax.Array:
        hidden = jax.nn.silu(self._dense("feed_forward_gate", self.feed_forward)(values))
        hidden = hidden * self._dense("feed_forward_hidden", self.feed_forward)(values)
        return self._dense("feed_forward_output", self.features)(hidden)

    def _dense(self, name: str, features: int) -> nn.Dense:
        return nn.Dense(
            features,
            use_bias=False,
            dtype=self.dtype,
            dot_general=flat_dot_general,
            name=name,
        )

    def _norm(self, name: str) -> nn.RMSNorm:
        return nn.RMSNorm(dtype=self.dtype, name=name)

    def _drop(self, values: jax.Array) -> jax.Array:
        return nn.Dropout(self.dropout)(values, deterministic=not self.has_rng("dropout"))
