"""A recurrent text classifier."""

from typing import Literal, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from rnnjax.cells import State
from rnnjax.models.token_encoder import TokenEncoder

Pooling = Literal["last", "max"]


class ClassifierCarry(NamedTuple):
    """State of a classifier in the middle of a text.

    Attributes:
      states: of the recurrent layers.
      output: pooled over the tokens so far; minus infinity for 'max' before the first.
    """

    states: tuple[State, ...]
    output: Float[Array, "batch features"]


class Classifier(TokenEncoder, kw_only=True):
    """Embedding, recurrent layers, pooling over time and a linear output layer.

    Attributes:
      classes: number of classes.
      pooling: of the outputs of the topmost layer: the 'last' one, at the first step for the
        backward direction, or the 'max' of each feature over the real steps, 0 if there are none.
    """

    classes: int
    pooling: Pooling = "last"

    def setup(self):
        self.build_encoder(return_sequences=self.pooling == "max")
        self.drop = nn.Dropout(self.output_dropout or self.dropout)
        options = self.initialization.output(self.output_features)
        self.score = nn.Dense(self.classes, **options)

    def __call__(
        self,
        tokens: Int[Array, "batch time"],
        mask: Bool[Array, "batch time"],
    ) -> Float[Array, "batch classes"]:
        """Returns the logits of the classes, float32.

        Args:
          tokens: as for `read`.
          mask: as for `read`. A fully masked row is an empty text.
        """
        return self.advance(tokens, mask)[1]

    def advance(
        self,
        tokens: Int[Array, "batch time"],
        mask: Bool[Array, "batch time"],
        carry: ClassifierCarry | None = None,
    ) -> tuple[ClassifierCarry, Float[Array, "batch classes"]]:
        """Reads the next tokens of texts; returns the carry and the logits after them.

        Args:
          tokens: as for `read`.
          mask: as for `read`.
          carry: of the previous call, for a unidirectional network; None at the start of a text.
        """
        states, output = self.read(tokens, mask, None if carry is None else carry.states)
        if self.pooling == "max":
            output = jnp.max(output, axis=1, where=mask[..., None], initial=-jnp.inf)
            if carry is not None:
                output = jnp.maximum(output, carry.output)
        elif carry is not None:
            output = jnp.where(jnp.any(mask, axis=1)[:, None], output, carry.output)
        features = jnp.where(jnp.isneginf(output), 0, output) if self.pooling == "max" else output
        features = self.drop(features, deterministic=not self.has_rng("dropout"))
        return ClassifierCarry(states, output), self.score(features.astype(jnp.float32))
