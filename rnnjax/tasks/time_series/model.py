"""A recurrent network on series: outputs at each step, or of the whole series."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from rnnjax.kernels import flat_dot_general
from rnnjax.models.recurrent_model import RecurrentModel


class SeriesModel(RecurrentModel, kw_only=True):
    """Recurrent layers, pooling over time if the output is of the series, and a linear output.

    Attributes:
      outputs: features of the output.
      inputs: features of the input.
      stepwise: an output at each step.
      pooling: of the outputs of the topmost layer otherwise: 'last', or 'max' over the real steps,
        0 if there are none.
    """

    outputs: int
    inputs: int
    stepwise: bool = False
    pooling: str = "last"

    def setup(self):
        is_pooled = not self.stepwise and self.pooling == "max"
        self.build_layers(self.inputs, return_sequences=self.stepwise or is_pooled)
        self.drop = nn.Dropout(self.output_dropout or self.dropout)
        options = self.initialization.output(self.output_features)
        self.score = nn.Dense(self.outputs, dot_general=flat_dot_general, **options)

    def __call__(
        self, inputs: Float[Array, "batch time features"], mask: Bool[Array, "batch time"]
    ) -> Float[Array, "batch ..."]:
        """Returns the outputs, float32: `[batch, time, outputs]` or `[batch, outputs]`.

        Args:
          inputs: anything where masked.
          mask: True where a step counts.
        """
        _, outputs = self.read_vectors(inputs.astype(self.dtype), mask)
        if not self.stepwise and self.pooling == "max":
            outputs = jnp.max(outputs, axis=1, where=mask[..., None], initial=-jnp.inf)
            outputs = jnp.where(jnp.isneginf(outputs), 0, outputs)
        outputs = self.drop(outputs, deterministic=not self.has_rng("dropout"))
        return self.score(outputs.astype(jnp.float32))
