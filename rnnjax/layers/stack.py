"""Recurrent layers, one on top of the other."""

from collections.abc import Sequence

import flax.linen as nn
import jax
from jaxtyping import Array, Bool, Float

from rnnjax.cells import State


class Stack(nn.Module):
    """Each layer reads the outputs of the one below it, under the same mask.

    Dropout draws from the rng stream 'dropout'; a call that is given none is an evaluation.

    Attributes:
      layers: `RNN` and `Bidirectional` layers. All but the last return sequences.
      dropout: rate on what each layer but the first reads, as in PyTorch. Zaremba, Sutskever,
        Vinyals, Recurrent neural network regularization, 2014.
      variational: one mask of dropout for all steps. Gal, Ghahramani, A theoretically grounded
        application of dropout in recurrent neural networks, NeurIPS 2016.
    """

    layers: Sequence[nn.Module]
    dropout: float = 0.0
    variational: bool = False

    @nn.compact
    def __call__(
        self,
        inputs: Float[Array, "batch time *features"],
        mask: Bool[Array, "batch time"] | None = None,
        initial_state: Sequence[State] | None = None,
        resets: Bool[Array, "batch time"] | None = None,
    ) -> tuple[tuple[State, ...], jax.Array]:
        """Returns the final state of each layer and the outputs of the last.

        Args:
          inputs: as for `RNN`.
          mask: as for `RNN`.
          initial_state: a state for each layer, None in the place of a layer or of them all for
            the cells' own.
          resets: as for `RNN`.
        """
        states = [None] * len(self.layers) if initial_state is None else initial_state
        finals = []
        outputs = inputs
        for index, (layer, state) in enumerate(zip(self.layers, states, strict=True)):
            if index:
                axes = (1,) if self.variational else ()
                drop = nn.Dropout(self.dropout, broadcast_dims=axes)
                outputs = drop(outputs, deterministic=not self.has_rng("dropout"))
            final, outputs = layer(outputs, mask, state, resets)
            finals.append(final)
        return tuple(finals), outputs
