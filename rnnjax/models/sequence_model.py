"""A recurrent network on sequences of vectors, with an output at every step."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from rnnjax.cells import State
from rnnjax.kernels import flat_dot_general
from rnnjax.models.recurrent_model import RecurrentModel


class SequenceModel(RecurrentModel, kw_only=True):
    """Recurrent layers and a linear output layer at every step.

    Attributes:
      outputs: features of the output: logits of as many classes, or 1 for regression.
      inputs: features of the input, which haiku's initial values of an LSTM depend on.
    """

    outputs: int
    inputs: int = 1

    def setup(self):
        self.build_layers(self.inputs, return_sequences=True)
        self.drop = self.make_dropout(self.output_dropout)
        options = self.initialization.output(self.output_features)
        self.score = nn.Dense(self.outputs, dot_general=flat_dot_general, **options)

    def __call__(
        self,
        inputs: Float[Array, "batch time features"],
        mask: Bool[Array, "batch time"],
    ) -> Float[Array, "batch time outputs"]:
        """Returns the outputs, float32; those at masked steps are meaningless."""
        return self.advance(inputs, mask)[1]

    def advance(
        self,
        inputs: Float[Array, "batch time features"],
        mask: Bool[Array, "batch time"],
        initial_state: tuple[State, ...] | None = None,
        resets: Bool[Array, "batch time"] | None = None,
    ) -> tuple[tuple[State, ...], Float[Array, "batch time outputs"]]:
        """Returns the final state of each layer, and the outputs.

        Args:
          inputs: anything where masked.
          mask: True where a step counts.
          initial_state: of each layer; None for the cells' own.
          resets: as for `rnnjax.layers.RNN`.
        """
        state, outputs = self.read_vectors(inputs.astype(self.dtype), mask, initial_state, resets)
        outputs = self.drop(outputs, deterministic=not self.has_rng("dropout"))
        return state, self.score(outputs.astype(jnp.float32))
