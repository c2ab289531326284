"""Base class of tasks on streams: truncated backpropagation through time with a carried state."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Shaped

from rnnjax.data.streams import StreamBatch
from rnnjax.tasks.task import Carry, Params, Task


@dataclasses.dataclass(frozen=True)
class StreamTask(Task):
    """A task whose recurrent state is carried from batch to batch; gradients stay within one.

    Williams, Peng, Neural Computation 2 (1990). The carry is the state of the layers. It is that
    of the network's start where a row of a `StreamBatch` restarts.
    """

    def read(
        self,
        params: Params,
        inputs: Shaped[Array, "batch time *features"],
        mask: Bool[Array, "batch time"],
        state: Any = None,
        resets: Bool[Array, "batch time"] | None = None,
        **options: Any,
    ) -> tuple[Any, Float[Array, "batch time outputs"]]:
        """Returns the final state of the layers, and the outputs at each step.

        Args:
          params: of the network.
          inputs: of the network.
          mask: True where a step counts.
          state: to start from; None for the initial one.
          resets: True where the state is reset before the step.
          **options: of `flax.linen.Module.apply`.
        """
        variables = {"params": params}
        return self.model.apply(  # pyright: ignore
            variables, inputs, mask, state, resets, method="advance", **options
        )

    def initial_carry(self, batch_size: int) -> Carry:
        """Returns zeros in the shape of the recurrent state."""
        shapes = jax.eval_shape(
            lambda: self._initial_state(self.init(jax.random.key(0)), batch_size)
        )
        return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)

    def start_state(self, params: Params, batch: StreamBatch, carry: Carry) -> Any:
        """Returns the state that each row of a batch starts from: carried, or initial."""

        def where_first(initial, carried):
            first = batch.first.reshape((-1,) + (1,) * (initial.ndim - 1))
            return jnp.where(first, initial, carried)

        initial_state = self._initial_state(params, len(batch.first))
        return jax.tree.map(where_first, initial_state, carry)

    def _initial_state(self, params: Params, batch_size: int) -> Carry:
        """Returns the initial state of the layers: the final state of fully masked rows."""
        inputs, mask = (jnp.zeros(leaf.shape, leaf.dtype) for leaf in self.input_shapes(batch_size))
        return self.read(params, inputs, mask)[0]
