"""What networks that read text share: tokens embedded, and recurrent layers over them."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from rnnjax.cells import (
    AbstractCell,
    FlaxCell,
    LearnedInitialState,
    RecurrentDropout,
    State,
    Zoneout,
)
from rnnjax.cells.initializers import uniform
from rnnjax.layers import RNN, Bidirectional, Stack, WeightDrop, embedding_dropout
from rnnjax.layers.bidirectional import Merge


class Reader(nn.Module, kw_only=True):
    """Embeds tokens and reads them with recurrent layers; a network that derives from it scores.

    Dropout draws from the rng stream 'dropout'; a call that is given none is an evaluation.

    Attributes:
      vocabulary: number of different tokens.
      cell: the cell of every recurrent layer.
      layers: number of recurrent layers.
      embedding: size of the vector of a token; 0 for one-hot vectors of the vocabulary's size.
      bidirectional: read from both ends.
      merge: how two directions become one.
      dropout: rate on the embedded tokens and on the outputs of every recurrent layer.
      variational: that dropout has one mask for all steps.
      embedding_dropout: rate of whole words, as `rnnjax.layers.embedding_dropout` has it.
      recurrent_dropout: rate of `rnnjax.cells.RecurrentDropout`.
      zoneout: rate of `rnnjax.cells.Zoneout`.
      weight_drop: rate of `rnnjax.layers.WeightDrop`.
      learned_state: whether the first state is learned, `rnnjax.cells.LearnedInitialState`.
      remat: of the recurrent layers, as for `rnnjax.layers.RNN`.
      dtype: of the computation. Scores are float32 in any case.
    """

    vocabulary: int
    cell: nn.Module
    layers: int = 1
    embedding: int = 64
    bidirectional: bool = False
    merge: Merge = "concat"
    dropout: float = 0.0
    variational: bool = False
    embedding_dropout: float = 0.0
    recurrent_dropout: float = 0.0
    zoneout: float = 0.0
    weight_drop: float = 0.0
    learned_state: bool = False
    remat: bool = False
    dtype: Any = jnp.float32

    def set_up(self, *, sequences: bool) -> None:
        """Makes what reads, in the `setup` of a network.

        Args:
          sequences: the topmost layer returns the outputs of all steps, otherwise its last one.
        """
        if self.embedding:
            self.embed = nn.Embed(
                self.vocabulary,
                self.embedding,
                embedding_init=uniform(0.05),
                dtype=self.dtype,
            )
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
        if self.bidirectional:
            layer = Bidirectional(
                self._cell(), merge=self.merge, return_sequences=sequences, remat=self.remat
            )
        else:
            layer = RNN(self._cell(), return_sequences=sequences, remat=self.remat)
        return WeightDrop(layer, self.weight_drop) if self.weight_drop else layer

    def _cell(self) -> nn.Module:
        cell = self.cell.copy(parent=None, name=None)
        if not (self.learned_state or self.recurrent_dropout or self.zoneout):
            return cell
        if isinstance(cell, nn.RNNCellBase):
            cell = FlaxCell(cell)
        assert isinstance(cell, AbstractCell)
        if self.learned_state:
            cell = LearnedInitialState(cell)
        if self.recurrent_dropout:
            cell = RecurrentDropout(cell, self.recurrent_dropout)
        return Zoneout(cell, self.zoneout) if self.zoneout else cell

    def read(
        self,
        tokens: Int[Array, "batch time"],
        mask: Bool[Array, "batch time"],
        initial_state: tuple[State, ...] | None = None,
        resets: Bool[Array, "batch time"] | None = None,
    ) -> tuple[tuple[State, ...], Float[Array, "batch ..."]]:
        """Returns the final state of each layer, and the outputs of the topmost one.

        Args:
          tokens: numbers from 0 to vocabulary - 1, anything in that range where masked.
          mask: True where a token counts.
          initial_state: of each layer; None for the cells' own.
          resets: as for `rnnjax.layers.RNN`.
        """
        evaluation = not self.has_rng("dropout")
        if not self.embedding:
            inputs = jax.nn.one_hot(tokens, self.vocabulary, dtype=self.dtype)
        elif self.embedding_dropout and not evaluation:
            key = self.make_rng("dropout")
            words = embedding_dropout(self.embed.embedding, self.embedding_dropout, key)
            inputs = words[tokens].astype(self.dtype)
        else:
            inputs = self.embed(tokens)
        inputs = self.drop_inputs(inputs, deterministic=evaluation)
        return self.recurrent(inputs, mask, initial_state, resets)
