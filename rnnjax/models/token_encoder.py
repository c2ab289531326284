"""Base class of networks on text: an embedding and recurrent layers."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from rnnjax.cells import State
from rnnjax.layers import embedding_dropout
from rnnjax.models.recurrent_model import RecurrentModel

PERTURBATION = "perturbation"
"""The optional collection with a perturbation of the embedded tokens: 'vectors' of shape [batch,
time, features], in units of the norm of all embedded tokens of a text."""


class TokenEncoder(RecurrentModel, kw_only=True):
    """An embedding and recurrent layers; subclasses add the output layer.

    Attributes:
      vocabulary: number of token ids.
      embedding: features of the embedding; 0 for one-hot vectors.
      embedding_dropout: rate of whole words, as `rnnjax.layers.embedding_dropout` has it.
    """

    vocabulary: int
    embedding: int = 64
    embedding_dropout: float = 0.0

    def build_encoder(self, *, return_sequences: bool, joined_features: int = 0) -> None:
        """Builds embedding and layers, in the `setup` of a subclass.

        Args:
          return_sequences: as for `build_layers`.
          joined_features: of what the subclass joins to the vectors of tokens.
        """
        if self.embedding:
            # Training cuts the rows that no token has (`Task.trainable_rows`).
            params = self.get_variable("params", "embed")
            self.embed = nn.Embed(
                len(params["embedding"]) if params else self.vocabulary,
                self.embedding,
                embedding_init=self.initialization.embedding(),
                dtype=self.dtype,
            )
        inputs = (self.embedding or self.vocabulary) + joined_features
        self.build_layers(inputs, return_sequences=return_sequences)

    def read(
        self,
        tokens: Int[Array, "batch time"],
        mask: Bool[Array, "batch time"],
        initial_state: tuple[State, ...] | None = None,
        resets: Bool[Array, "batch time"] | None = None,
    ) -> tuple[tuple[State, ...], Float[Array, "batch ..."]]:
        """Returns the final state of each layer, and the outputs of the topmost one.

        Args:
          tokens: as for `embed_tokens`.
          mask: True where a token counts.
          initial_state: of each layer; None for the cells' own.
          resets: as for `rnnjax.layers.RNN`.
        """
        return self.read_vectors(self.embed_tokens(tokens, mask), mask, initial_state, resets)

    def embed_tokens(
        self, tokens: Int[Array, "batch time"], mask: Bool[Array, "batch time"]
    ) -> Float[Array, "batch time features"]:
        """Returns the vectors of tokens.

        Args:
          tokens: ids from 0 to vocabulary - 1, also where masked.
          mask: True where a token counts.
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
            perturbation = self.get_variable(PERTURBATION, "vectors") * _length(inputs, mask)
            inputs += perturbation.astype(inputs.dtype)
        return inputs


def _length(
    vectors: Float[Array, "batch time features"], mask: Bool[Array, "batch time"]
) -> Float[Array, "batch 1 1"]:
    """Returns the Euclidean norm of all unmasked vectors of a text, without gradient."""
    squares = jnp.square(vectors.astype(jnp.float32))
    total = jnp.sum(squares, axis=(1, 2), where=mask[..., None], keepdims=True)
    return jax.lax.stop_gradient(jnp.sqrt(total))
