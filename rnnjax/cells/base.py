"""What a recurrent cell is: one step of time, cut into what needs the state and what does not."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jaxtyping import Array, Bool, Float

State = Any
"""The state of a cell: a pytree of arrays [batch, ...], a named tuple where it has several."""

Initializer = jax.nn.initializers.Initializer


class Cell(nn.Module):
    """A recurrent cell: what happens between two neighbouring time steps.

    A new cell gives `setup`, which makes its parameters, and `step`. It gives `project` as well
    where part of the work does not depend on the state: that part is then done for all time steps
    at once. `rnnjax.layers.RNN` runs the cell over time and obeys the mask, of which a cell knows
    nothing.

    Attributes:
      features: size of the output and of each part of the state.
      dtype: of the computation; None infers it from the inputs and the parameters.
      param_dtype: of the parameters and of the state, which stays in it whatever `dtype` is.
    """

    features: int
    dtype: Any = None
    param_dtype: Any = jnp.float32

    def initial_state(self, batch_shape: tuple[int, ...]) -> State:
        """Returns the state before the first step, zeros unless a cell says otherwise."""
        return jnp.zeros((*batch_shape, self.features), self.param_dtype)

    def project(self, inputs: Float[Array, "*batch inputs"]) -> Float[Array, "*batch projected"]:
        """Returns what the steps need of the inputs, for any number of leading axes at once."""
        return inputs

    def step(
        self, state: State, projected: Float[Array, "*batch projected"]
    ) -> tuple[State, Float[Array, "*batch features"]]:
        """Returns the next state and the output of one time step."""
        raise NotImplementedError(f"{type(self).__name__} does not define step")

    def fused(
        self,
        state: State,
        projected: Float[Array, "batch time projected"],
        mask: Bool[Array, "batch time"] | None,
        reverse: bool,
    ) -> tuple[State, Float[Array, "batch time features"]]:
        """Returns the final state and the outputs of whole sequences, under the mask law.

        A cell that has a derivative written by hand gives this; `RNN(engine='fused')` uses it.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define fused")

    def __call__(
        self, state: State, inputs: Float[Array, "*batch inputs"]
    ) -> tuple[State, Float[Array, "*batch features"]]:
        """Returns the next state and the output for the inputs of one time step (streaming)."""
        return self.step(state, self.project(inputs))

    def recurrent_product(
        self, state: Float[Array, "*batch features"], kernel: Float[Array, "features units"]
    ) -> Float[Array, "*batch units"]:
        """Returns `state @ kernel`, computed in `dtype`."""
        state, kernel = promote_dtype(state, kernel, dtype=self.dtype)
        return state @ kernel
