"""A recurrent tagger: scores of the labels of each token."""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from rnnjax.cells import State, output_features
from rnnjax.data.vocabulary import UNKNOWN
from rnnjax.kernels import flat_dot_general
from rnnjax.layers import Bidirectional
from rnnjax.models.token_encoder import TokenEncoder
from rnnjax.tasks.tagging.crf import Potentials


class TaggerCarry(NamedTuple):
    """State of a tagger in the middle of a text.

    Attributes:
      states: of the recurrent layers.
      scores: of the labels of the last token; zeros before the first.
    """

    states: tuple[State, ...]
    scores: Float[Array, "batch labels"]


class Tagger(TokenEncoder, kw_only=True):
    """Embedding, recurrent layers and a linear output layer at every token.

    With characters, a bidirectional layer reads those of each token, and its last outputs join the
    token's vector: Lample et al., Neural architectures for named entity recognition, NAACL 2016.

    Attributes:
      labels: number of labels.
      character_cell: of the layer that reads characters; None for tokens alone.
      characters: number of character ids, with padding and unknown.
      character_features: of the embedding of characters.
      crf: whether there are potentials between labels.
    """

    labels: int
    character_cell: nn.Module | None = None
    characters: int = 0
    character_features: int = 0
    crf: bool = False

    def setup(self):
        features = self.character_features
        if self.character_cell is not None:
            self.embed_characters = nn.Embed(self.characters, features)
            cell = self.initialization.cell(self.character_cell, features)
            self.read_characters = Bidirectional(cell, return_sequences=False, engine=self.engine)
            joined_features = 2 * output_features(self.character_cell, features)
        else:
            joined_features = 0
        self.build_encoder(return_sequences=True, joined_features=joined_features)
        self.drop = self.make_dropout(self.output_dropout)
        options = self.initialization.output(self.output_features)
        self.score = nn.Dense(self.labels, dot_general=flat_dot_general, **options)
        if self.crf:
            zeros = nn.initializers.zeros
            self.transitions = self.param("transitions", zeros, (self.labels, self.labels))
            self.first = self.param("first", zeros, (self.labels,))
            self.last = self.param("last", zeros, (self.labels,))

    def __call__(
        self,
        inputs: Int[Array, "batch time *ids"],
        mask: Bool[Array, "batch time"],
    ) -> tuple[Float[Array, "batch time labels"], Potentials | None]:
        """Returns the scores of the labels, float32, and the potentials between labels if any.

        Args:
          inputs: token ids; with characters `[batch, time, 1 + characters]`, the token id first and
            0 after the last character. Anything valid where masked.
          mask: True where a token counts.
        """
        scores = self._read(inputs, mask)[1]
        if not self.crf:
            return scores, None
        return scores, Potentials(self.transitions, self.first, self.last)

    def advance(
        self,
        tokens: Int[Array, "batch time"],
        mask: Bool[Array, "batch time"],
        carry: TaggerCarry | None = None,
    ) -> tuple[TaggerCarry, Float[Array, "batch labels"]]:
        """Reads the next tokens of texts; returns the carry, and the scores of the last token.

        Args:
          tokens: ids, of a tagger without characters.
          mask: True where a token counts.
          carry: of the previous call, for a unidirectional network; None at the start of a text.
        """
        states, scores = self._read(tokens, mask, None if carry is None else carry.states)
        steps = jnp.arange(mask.shape[1])[None]
        last = jnp.max(jnp.where(mask, steps, -1), axis=1)[:, None, None]
        end = jnp.take_along_axis(scores, jnp.maximum(last, 0), axis=1)
        previous = jnp.zeros_like(end[:, 0]) if carry is None else carry.scores
        end = jnp.where(last[:, 0] < 0, previous, end[:, 0])
        return TaggerCarry(states, end), end

    def _read(
        self,
        inputs: Int[Array, "batch time *ids"],
        mask: Bool[Array, "batch time"],
        states: tuple[State, ...] | None = None,
    ) -> tuple[tuple[State, ...], Float[Array, "batch time labels"]]:
        if self.character_cell is None:
            vectors = self.embed_tokens(inputs, mask)
        else:
            words = self.embed_tokens(_limit(inputs[..., 0], self.vocabulary), mask)
            vectors = jnp.concatenate([words, self._spell(inputs[..., 1:])], axis=-1)
        states, outputs = self.read_vectors(vectors, mask, states)
        outputs = self.drop(outputs, deterministic=not self.has_rng("dropout"))
        return states, self.score(outputs.astype(jnp.float32))

    def _spell(
        self, characters: Int[Array, "batch time characters"]
    ) -> Float[Array, "batch time features"]:
        """Returns the outputs of both directions over the characters of each token."""
        flat = characters.reshape(-1, characters.shape[-1])
        vectors = self.embed_characters(_limit(flat, self.characters)).astype(self.dtype)
        _, outputs = self.read_characters(vectors, flat > 0)
        assert isinstance(outputs, jax.Array)
        return outputs.reshape(*characters.shape[:-1], -1)


def _limit(ids: Int[Array, "*shape"], count: int) -> Int[Array, "*shape"]:
    """Returns ids, unknown where a table of `count` rows has none."""
    return jnp.where(ids < count, ids, UNKNOWN)
