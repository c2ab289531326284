"""A recurrent network on sequences of vectors, with an output at every step."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from rnnjax.kernels import flat_dot_general
from rnnjax.models.recurrent_model import RecurrentModel


class SequenceModel(RecurrentModel, kw_only=True):
    """Recurrent layers and a linear output layer at every step.

    Attributes:
      answers: features of the output: logits of as many classes, or 1 for regression.
    """

    answers: int

    def setup(self):
        self.build_layers(return_sequences=True)
        axes = (1,) if self.variational else ()
        self.drop = nn.Dropout(self.dropout, broadcast_dims=axes)
        initializer = nn.initializers.xavier_uniform()
        self.score = nn.Dense(self.answers, kernel_init=initializer, dot_general=flat_dot_general)

    def __call__(
        self,
        inputs: Float[Array, "batch time features"],
        mask: Bool[Array, "batch time"],
    ) -> Float[Array, "batch time answers"]:
        """Returns the outputs, float32; those at masked steps are meaningless."""
        _, outputs = self.read_vectors(inputs.astype(self.dtype), mask)
        outputs = self.drop(outputs, deterministic=not self.has_rng("dropout"))
        return self.score(outputs.astype(jnp.float32))
