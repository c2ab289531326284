"""Base class of networks: a stack of recurrent layers over a sequence of vectors."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from flax.core import FrozenDict
from jaxtyping import Array, Bool, Float

from rnnjax.cells import (
    AbstractCell,
    FlaxCell,
    LearnedInitialState,
    RecurrentDropout,
    State,
    Zoneout,
    output_features,
)
from rnnjax.layers import RNN, Bidirectional, ResidualBlock, Stack, WeightDrop
from rnnjax.layers.bidirectional import Merge
from rnnjax.layers.engines import Engine
from rnnjax.layers.stack import Connection
from rnnjax.models.initialization import Initialization


class RecurrentModel(nn.Module, kw_only=True):
    """A stack of recurrent layers; subclasses add the output layer.

    Dropout draws from the rng stream 'dropout'; without that stream it is off.

    Attributes:
      cell: the cell of every recurrent layer.
      layers: number of recurrent layers.
      layer_features: features of the cell of each layer; () for those of `cell`.
      connection: as for `rnnjax.layers.Stack`.
      layer_norm: as for `rnnjax.layers.Stack`.
      block: attributes of a `rnnjax.layers.ResidualBlock` around every cell, `features` with or
        without options, and the outputs of the topmost one are normalized; empty for none.
      bidirectional: run every layer in both directions.
      merge: how the outputs of the two directions are combined.
      dropout: rate on the vectors and on the outputs of every recurrent layer.
      input_dropout: rate on the vectors alone; 0 for `dropout`.
      hidden_dropout: likewise between layers.
      output_dropout: likewise on the outputs of the topmost layer.
      variational: one dropout mask for all steps.
      recurrent_dropout: rate of `rnnjax.cells.RecurrentDropout`.
      zoneout: rate of `rnnjax.cells.Zoneout`.
      weight_drop: rate of `rnnjax.layers.WeightDrop`.
      learned_initial_state: learn the initial state, `rnnjax.cells.LearnedInitialState`.
      engine: of the recurrent layers, as for `rnnjax.layers.RNN`.
      remat: of the recurrent layers, as for `rnnjax.layers.RNN`.
      initialization: initial values of the parameters.
      dtype: of the computation. Scores are float32 in any case.
    """

    cell: nn.Module
    layers: int = 1
    layer_features: tuple[int, ...] = ()
    connection: Connection = ""
    layer_norm: bool = False
    block: Mapping[str, Any] = FrozenDict()
    bidirectional: bool = False
    merge: Merge = "concat"
    dropout: float = 0.0
    input_dropout: float = 0.0
    hidden_dropout: float = 0.0
    output_dropout: float = 0.0
    variational: bool = False
    recurrent_dropout: float = 0.0
    zoneout: float = 0.0
    weight_drop: float = 0.0
    learned_initial_state: bool = False
    engine: Engine = "auto"
    remat: bool = False
    initialization: Initialization = Initialization()
    dtype: Any = jnp.float32

    def build_layers(self, inputs: int, *, return_sequences: bool) -> None:
        """Builds the submodules, in the `setup` of a subclass.

        Args:
          inputs: features that the lowest layer reads.
          return_sequences: the topmost layer returns the outputs of all steps, otherwise the last.
        """
        layers = []
        self.output_features = inputs
        for index in range(self.layers):
            cell = self.cell
            if self.layer_features:
                cell = cell.copy(parent=None, name=None, features=self.layer_features[index])
            is_sequence = index < self.layers - 1 or return_sequences
            layers.append(self._layer(cell, self.output_features, is_sequence))
            if self.is_initializing() and self.initialization.reads_sizes:
                self.output_features = self._layer_features(cell, self.output_features)
        self.recurrent = Stack(
            layers,
            dropout=0.0 if self.block else self.hidden_dropout or self.dropout,
            variational=self.variational,
            connection=self.connection,
            layer_norm=self.layer_norm,
        )
        if self.block:
            self.output_norm = nn.RMSNorm(dtype=self.dtype)
        self.drop_inputs = self.make_dropout(self.input_dropout)

    def make_dropout(self, rate: float) -> nn.Dropout:
        """Returns a dropout of vectors at every step, for `setup`; 0 is the rate `dropout`."""
        axes = (1,) if self.variational else ()
        return nn.Dropout(rate or self.dropout, broadcast_dims=axes)

    def _layer(self, cell: nn.Module, inputs: int, return_sequences: bool) -> nn.Module:
        options = {"return_sequences": return_sequences, "engine": self.engine, "remat": self.remat}
        if self.block:
            inputs = self.block.get("inner") or self.block["features"]
        cell = self._wrapped_cell(cell, inputs)
        if self.block:
            layer = ResidualBlock(
                cell,
                **self.block,
                dropout=self.hidden_dropout or self.dropout,
                bidirectional=self.bidirectional,
                dtype=self.dtype,
                **options,
            )
        elif self.bidirectional:
            layer = Bidirectional(cell, merge=self.merge, **options)
        else:
            layer = RNN(cell, **options)
        return WeightDrop(layer, self.weight_drop) if self.weight_drop else layer

    def _layer_features(self, cell: nn.Module, inputs: int) -> int:
        """Returns the features of the outputs of a layer that reads so many."""
        if self.block:
            return self.block["features"]
        width = output_features(cell, inputs)
        return 2 * width if self.bidirectional and self.merge == "concat" else width

    def _wrapped_cell(self, cell: nn.Module, inputs: int) -> nn.Module:
        cell = cell.copy(parent=None, name=None)
        if self.is_initializing():
            cell = self.initialization.cell(cell, inputs)
        if not (self.learned_initial_state or self.recurrent_dropout or self.zoneout):
            return cell
        if isinstance(cell, nn.RNNCellBase):
            cell = FlaxCell(cell)
        assert isinstance(cell, AbstractCell)
        if self.learned_initial_state:
            cell = LearnedInitialState(cell)
        if self.recurrent_dropout:
            cell = RecurrentDropout(cell, self.recurrent_dropout)
        return Zoneout(cell, self.zoneout) if self.zoneout else cell

    def read_vectors(
        self,
        inputs: Float[Array, "batch time features"],
        mask: Bool[Array, "batch time"],
        initial_state: tuple[State, ...] | None = None,
        resets: Bool[Array, "batch time"] | None = None,
    ) -> tuple[tuple[State, ...], Float[Array, "batch ..."]]:
        """Returns the final state of each layer, and the outputs of the topmost one.

        Args:
          inputs: anything where masked.
          mask: True where a step counts.
          initial_state: of each layer; None for the cells' own.
          resets: as for `rnnjax.layers.RNN`.
        """
        inputs = self.drop_inputs(inputs, deterministic=not self.has_rng("dropout"))
        state, outputs = self.recurrent(inputs, mask, initial_state, resets)
        return state, self.output_norm(outputs) if self.block else outputs
