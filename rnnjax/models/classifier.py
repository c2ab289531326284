"""A recurrent network that reads a text and names its class."""

from typing import Literal

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from rnnjax.models.reader import Reader

Pooling = Literal["last", "max"]


class Classifier(Reader, kw_only=True):
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
        _, output = self.read(tokens, mask)
        if self.pooling == "max":
            real = mask[..., None]
            greatest = jnp.max(output, axis=1, where=real, initial=-jnp.inf)
            output = jnp.where(jnp.any(real, axis=1), greatest, 0)
        output = self.drop(output, deterministic=not self.has_rng("dropout"))
        return self.score(output.astype(jnp.float32))
