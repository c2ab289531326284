"""What all networks share: recurrent layers over a sequence of vectors."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from rnnjax.cells import (
    AbstractCell,
    FlaxCell,
    LearnedInitialState,
    RecurrentDropout,
    State,
    Zoneout,
)
from rnnjax.layers import RNN, Bidirectional, Stack, WeightDrop
from rnnjax.layers.bidirectional import Merge
from rnnjax.layers.rnn import Engine


class RecurrentModel(nn.Module, kw_only=True):
    """Reads vectors with recurrent layers; a network that derives from it scores.

    Dropout draws from the rng stream 'dropout'; a call that is given none is an evaluation.

    Attributes:
      cell: the cell of every recurrent layer.
      layers: number of recurrent layers.
      bidirectional: read from both ends.
      merge: how two directions become one.
      dropout: rate on the vectors and on the outputs of every recurrent layer.
      variational: that dropout has one mask for all steps.
      recurrent_dropout: rate of `rnnjax.cells.RecurrentDropout`.
      zoneout: rate of `rnnjax.cells.Zoneout`.
      weight_drop: rate of `rnnjax.layers.WeightDrop`.
      learned_initial_state: whether the first state is learned, `rnnjax.cells.LearnedInitialState`.
      engine: of the recurrent layers, as for `rnnjax.layers.RNN`.
      remat: of the recurrent layers, as for `rnnjax.layers.RNN`.
      dtype: of the computation. Scores are float32 in any case.
    """

    cell: nn.Module
    layers: int = 1
    bidirectional: bool = False
    merge: Merge = "concat"
    dropout: float = 0.0
    variational: bool = False
    recurrent_dropout: float = 0.0
    zoneout: float = 0.0
    weight_drop: float = 0.0
    learned_initial_state: bool = False
    engine: Engine = "auto"
    remat: bool = False
    dtype: Any = jnp.float32

    def set_up(self, *, sequences: bool) -> None:
        """Makes what reads, in the `setup` of a network.

        Args:
          sequences: the topmost layer returns the outputs of all steps, otherwise its last one.
        """
        self.recurrent = Stack(
            [
                self._layer(sequences=index < self.layers - 1 or sequences)
                for index in range(self.layers)
            ],
            dropout=self.dropout,
            variational=self.variational,
        )
        axes = (1,) if self.variational else ()
        self.drop_inputs = nn.Dropout(self.dropout, broadcast_dims=axes)

    def _layer(self, sequences: bool) -> nn.Module:
        options = {"return_sequences": sequences, "engine": self.engine, "remat": self.remat}
        if self.bidirectional:
            layer = Bidirectional(self._cell(), merge=self.merge, **options)
        else:
            layer = RNN(self._cell(), **options)
        return WeightDrop(layer, self.weight_drop) if self.weight_drop else layer

    def _cell(self) -> nn.Module:
        cell = self.cell.copy(parent=None, name=None)
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
        return self.recurrent(inputs, mask, initial_state, resets)
