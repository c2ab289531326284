"""Base class of tasks on sequences of numbers, with an output at each step."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from rnnjax.data.batches import Shape
from rnnjax.models import SequenceModel
from rnnjax.tasks.model_options import trainable_mask
from rnnjax.tasks.task import Params, Task


@dataclasses.dataclass(frozen=True)
class SequenceTask(Task):
    """A task of a `SequenceModel`.

    Attributes:
      model: the network.
      features: numbers of an input at each step.
    """

    model: SequenceModel
    features: int = dataclasses.field(kw_only=True)

    @property
    def num_classes(self) -> int:
        """The outputs of the network; 0 for a single one, as of a regression."""
        return self.model.outputs if self.model.outputs > 1 else 0

    def input_shapes(
        self, batch_size: int = 1, lengths: Shape = (1,)
    ) -> tuple[jax.ShapeDtypeStruct, ...]:
        """Returns shapes and dtypes of inputs and mask."""
        shape = (batch_size, *lengths)
        inputs = jax.ShapeDtypeStruct((*shape, self.features), jnp.float32)
        return inputs, jax.ShapeDtypeStruct(shape, jnp.bool_)

    def trainable_mask(self, params: Params) -> Any:
        """Returns a pytree of bools, False for what a cell freezes."""
        return trainable_mask(params, {"recurrent": self.model.cell})
