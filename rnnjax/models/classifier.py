"""A recurrent network that reads a text and names its class."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from rnnjax.layers import RNN, Bidirectional, Stack
from rnnjax.layers.bidirectional import Merge


def uniform(bound: float) -> jax.nn.initializers.Initializer:
    """Returns an initializer that draws uniformly between -bound and bound, as Keras has it."""

    def init(key, shape, dtype=jnp.float32, out_sharding=None):
        del out_sharding
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init


class Classifier(nn.Module):
    """Embeds tokens, reads them with recurrent layers, and scores classes from the last output.

    Dropout draws from the rng stream 'dropout'; a call that is given none is an evaluation.

    Attributes:
      vocabulary: number of different tokens.
      classes: number of classes.
      cell: the cell of every recurrent layer.
      layers: number of recurrent layers.
      embedding: size of the vector of a token; 0 for one-hot vectors of the vocabulary's size.
      bidirectional: read from both ends.
      merge: how two directions become one.
      dropout: rate on the embedded tokens and on the outputs of every recurrent layer.
      dtype: of the computation. The scores are float32 in any case.
    """

    vocabulary: int
    classes: int
    cell: nn.Module
    layers: int = 1
    embedding: int = 64
    bidirectional: bool = False
    merge: Merge = "concat"
    dropout: float = 0.0
    dtype: Any = jnp.float32

    def setup(self):
        if self.embedding:
            self.embed = nn.Embed(
                self.vocabulary,
                self.embedding,
                embedding_init=uniform(0.05),
                dtype=self.dtype,
            )
        self.recurrent = Stack(
            [self._layer(last=index == self.layers - 1) for index in range(self.layers)],
            dropout=self.dropout,
        )
        self.drop = nn.Dropout(self.dropout)
        self.score = nn.Dense(self.classes, kernel_init=nn.initializers.xavier_uniform())

    def _layer(self, last: bool) -> RNN | Bidirectional:
        cell = self.cell.clone(parent=None, name=None)
        if self.bidirectional:
            return Bidirectional(cell, merge=self.merge, return_sequences=not last)
        return RNN(cell, return_sequences=not last)

    def __call__(
        self,
        tokens: Int[Array, "batch time"],
        mask: Bool[Array, "batch time"],
    ) -> Float[Array, "batch classes"]:
        """Returns the score (logit) of each class, float32.

        Args:
          tokens: numbers from 0 to vocabulary - 1, anything in that range where masked.
          mask: True where a token counts. A row with none gets the scores of an empty text.
        """
        if self.embedding:
            inputs = self.embed(tokens)
        else:
            inputs = jax.nn.one_hot(tokens, self.vocabulary, dtype=self.dtype)
        evaluation = not self.has_rng("dropout")
        inputs = self.drop(inputs, deterministic=evaluation)
        _, output = self.recurrent(inputs, mask)
        output = self.drop(output, deterministic=evaluation)
        return self.score(output.astype(jnp.float32))
