"""A recurrent network that reads a text and names its class."""

from typing import Literal, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from rnnjax.cells import State
from rnnjax.models.token_encoder import TokenEncoder

Pooling = Literal["last", "max"]


class ClassifierCarry(NamedTuple):
    """What a classifier keeps of the tokens so far.

    Attributes:
      states: of the recurrent layers.
      output: what is scored; of 'max' minus infinity while there is nothing.
    """

    states: tuple[State, ...]
    output: Float[Array, "batch features"]


class Classifier(TokenEncoder, kw_only=True):
    """Reads tokens with recurrent layers, and scores classes from what these say.

    Attributes:
      classes: number of classes.
      pooling: what of the outputs of the topmost layer is scored: its 'last' one, which is that of
        the first step where it runs back, or the 'max' of each feature over the real steps, which
        is 0 where there are none.
    """

    classes: int
    pooling: Pooling = "last"

    def setup(self):
        self.set_up(sequences=self.pooling == "max")
        self.drop = nn.Dropout(self.dropout)
        self.score = nn.Dense(self.classes, kernel_init=nn.initializers.xavier_uniform())

    def __call__(
        self,
        tokens: Int[Array, "batch time"],
        mask: Bool[Array, "batch time"],
    ) -> Float[Array, "batch classes"]:
        """Returns the score (logit) of each class, float32.

        Args:
          tokens: as for `read`.
          mask: as for `read`. A row with no token that counts gets the scores of an empty text.
        """
        return self.advance(tokens, mask)[1]

    def advance(
        self,
        tokens: Int[Array, "batch time"],
        mask: Bool[Array, "batch time"],
        carry: ClassifierCarry | None = None,
    ) -> tuple[ClassifierCarry, Float[Array, "batch classes"]]:
        """Returns what is kept of the tokens so far, and the score of each class after them.

        Args:
          tokens: as for `read`.
          mask: as for `read`.
          carry: as a call has returned it, of a network that reads from left to right; None at the
            start of a text.
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
