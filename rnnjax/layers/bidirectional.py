"""The bidirectional layer: a forward and a backward run over one mask."""

from collections.abc import Callable
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from rnnjax.cells import State
from rnnjax.errors import InputError
from rnnjax.layers.engines import Engine
from rnnjax.layers.rnn import RNN
from rnnjax.layers.validation import require_cell, require_states

Merge = Literal["concat", "sum", "mul", "ave", "none"]

_MERGES: dict[str, Callable] = {
    "concat": lambda forward, backward: jnp.concatenate([forward, backward], axis=-1),
    "sum": jnp.add,
    "mul": jnp.multiply,
    "ave": lambda forward, backward: (forward + backward) / 2,
    "none": lambda forward, backward: (forward, backward),
}


class Bidirectional(nn.Module):
    """Runs a cell forward, and a copy of it with its own parameters backward.

    Source: Schuster, Paliwal, Bidirectional recurrent neural networks, IEEE Transactions on Signal
    Processing 45 (1997). The merges are those of Keras.

    Attributes:
      cell: the cell of both directions, as for `RNN`.
      merge: how the two outputs become one; 'none' returns the pair (forward, backward).
      return_sequences: as for `RNN`. Each direction then gives the output that it computes last, so
        that both have read the complete row.
      engine: of both directions, as for `RNN`.
      remat: of both directions, as for `RNN`.
    """

    cell: nn.Module
    merge: Merge = "concat"
    return_sequences: bool = True
    engine: Engine = "auto"
    remat: bool = False

    @nn.compact
    def __call__(
        self,
        inputs: Float[Array, "batch time *features"],
        mask: Bool[Array, "batch time"] | None = None,
        initial_state: tuple[State, State] | None = None,
        resets: Bool[Array, "batch time"] | None = None,
    ) -> tuple[tuple[State, State], jax.Array | tuple[jax.Array, jax.Array]]:
        """Returns the final states (forward, backward) and the merged outputs.

        Args:
          inputs: as for `RNN`.
          mask: as for `RNN`.
          initial_state: a pair of states, forward and backward; None for `cell.initial_state`.
          resets: as for `RNN`.

        Raises:
          InputError: `merge` is not one of those above, `initial_state` is no pair, or as `RNN`
            raises it.
        """
        if self.merge not in _MERGES:
            raise InputError(f"merge: given {self.merge!r}, expected one of {', '.join(_MERGES)}")
        require_cell(self.cell)
        states = (None, None) if initial_state is None else initial_state
        require_states(states, 2, "a pair of states, forward and backward")
        finals, outputs = zip(
            *(
                RNN(
                    self.cell.copy(parent=None, name=None),
                    reverse=name == "backward",
                    return_sequences=self.return_sequences,
                    engine=self.engine,
                    remat=self.remat,
                    name=name,
                )(inputs, mask, state, resets)
                for name, state in zip(("forward", "backward"), states, strict=True)
            ),
            strict=True,
        )
        return finals, _MERGES[self.merge](*outputs)
