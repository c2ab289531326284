"""What networks that read text share: tokens embedded, and recurrent layers over them."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from rnnjax.cells import State, symmetric_uniform
from rnnjax.layers import embedding_dropout
from rnnjax.models.recurrent_model import RecurrentModel

PERTURBATION = "perturbation"
"""The collection with what is added to the vectors of the tokens: 'vectors' of shape [batch, time,
features], in units of the length of the text that they are part of. Without it nothing is."""


class TokenEncoder(RecurrentModel, kw_only=True):
    """Embeds tokens and reads them with recurrent layers; a network that derives from it scores.

    Attributes:
      vocabulary: number of different tokens.
      embedding: size of the vector of a token; 0 for one-hot vectors of the vocabulary's size.
      embedding_dropout: rate of whole words, as `rnnjax.layers.embedding_dropout` has it.
    """

    vocabulary: int
    embedding: int = 64
    embedding_dropout: float = 0.0

    def set_up(self, *, sequences: bool) -> None:
        """Makes what reads, in the `setup` of a network.

        Args:
          sequences: the topmost layer returns the outputs of all steps, otherwise its last one.
        """
        if self.embedding:
            # In training, rows that no token has are not among the parameters.
            params = self.get_variable("params", "embed")
            self.embed = nn.Embed(
                len(params["embedding"]) if params else self.vocabulary,
                self.embedding,
                embedding_init=symmetric_uniform(0.05),
                dtype=self.dtype,
            )
        super().set_up(sequences=sequences)

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
        if not self.embedding:
            inputs = jax.nn.one_hot(tokens, self.vocabulary, dtype=self.dtype)
        elif self.embedding_dropout and self.has_rng("dropout"):
            key = self.make_rng("dropout")
            words = embedding_dropout(self.embed.embedding, self.embedding_dropout, key)
            inputs = words[tokens].astype(self.dtype)
        else:
            inputs = self.embed(tokens)
        if self.has_variable(PERTURBATION, "vectors"):
            moves = self.get_variable(PERTURBATION, "vectors") * _length(inputs, mask)
            inputs += moves.astype(inputs.dtype)
        return self.read_vectors(inputs, mask, initial_state, resets)


def _length(
    vectors: Float[Array, "batch time features"], mask: Bool[Array, "batch time"]
) -> Float[Array, "batch 1 1"]:
    """Returns the Euclidean norm of all the vectors of a text that count, held fast."""
    squares = jnp.square(vectors.astype(jnp.float32))
    total = jnp.sum(squares, axis=(1, 2), where=mask[..., None], keepdims=True)
    return jax.lax.stop_gradient(jnp.sqrt(total))
