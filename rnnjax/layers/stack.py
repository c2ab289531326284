"""Recurrent layers, one on top of the other."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import flax.linen as nn
import jax
from jaxtyping import Array, Bool, Float

from rnnjax.cells import AbstractCell, State
from rnnjax.cells.base import require_rate
from rnnjax.errors import InputError
from rnnjax.layers.validation import require_states


class Stack(nn.Module):
    """Each layer reads the outputs of the one below it, under the same mask.

    Dropout draws from the rng stream 'dropout'; a call that is given none is an evaluation.

    Attributes:
      layers: `RNN` and `Bidirectional` layers, and others that are called as they are. All but the
        last return sequences. A layer or a cell that stands in several places is copied: each has
        parameters of its own.
      dropout: rate on what each layer but the first reads, as in PyTorch. Zaremba, Sutskever,
        Vinyals, Recurrent neural network regularization, 2014.
      variational: one mask of dropout for all steps. Gal, Ghahramani, A theoretically grounded
        application of dropout in recurrent neural networks, NeurIPS 2016. What the first layer
        reads and what the last one gives is dropped so by flax's `nn.Dropout(rate,
        broadcast_dims=(1,))`.

    Raises:
      InputError: `layers` are no layers, or the rate is out of [0, 1).
    """

    layers: Sequence[nn.Module]
    dropout: float = 0.0
    variational: bool = False

    def __post_init__(self):
        require_rate("dropout", self.dropout)
        _require_layers(self.layers)
        object.__setattr__(self, "layers", _apart(self.layers))
        super().__post_init__()

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

        Raises:
          InputError: there is not one initial state for each layer, a layer below another one
            returns no sequences, or as the layers raise it.
        """
        states = [None] * len(self.layers) if initial_state is None else initial_state
        count = len(self.layers)
        require_states(states, count, f"a state for each of the {count} layers")
        finals = []
        outputs = inputs
        for index, (layer, state) in enumerate(zip(self.layers, states, strict=True)):
            if index:
                _require_sequences(index - 1, outputs, inputs)
                axes = (1,) if self.variational else ()
                drop = nn.Dropout(self.dropout, broadcast_dims=axes)
                outputs = drop(outputs, deterministic=not self.has_rng("dropout"))
            final, outputs = layer(outputs, mask, state, resets)
            finals.append(final)
        return tuple(finals), outputs


def _require_layers(layers: Any) -> None:
    if not isinstance(layers, tuple | list) or not layers:
        raise InputError(f"layers: given {layers!r}, expected [RNN(cell), ...]")
    for index, layer in enumerate(layers):
        if isinstance(layer, type | AbstractCell | nn.RNNCellBase):
            kind = layer if isinstance(layer, type) else type(layer)
            what = f"the class {kind.__name__}" if kind is layer else f"the cell {kind.__name__}"
            raise InputError(
                f"layers[{index}]: given {what}, expected a layer: RNN(cell) or Bidirectional(cell)"
            )


def _require_sequences(index: int, outputs: Any, inputs: jax.Array) -> None:
    if isinstance(outputs, tuple):
        raise InputError(
            f"layers[{index}]: returns a pair of outputs, which the next layer cannot read; "
            "expected another merge than 'none' in all layers but the last"
        )
    if outputs.ndim < 3 or outputs.shape[:2] != inputs.shape[:2]:
        raise InputError(
            f"layers[{index}]: returns {list(outputs.shape)}, no outputs of all steps; expected "
            "return_sequences=True in all layers but the last"
        )


def _apart(layers: Sequence[nn.Module]) -> tuple[nn.Module, ...]:
    """Returns the layers, those that share something with one below as copies."""
    seen: set[int] = set()
    apart = []
    for layer in layers:
        if seen & {id(each) for each in _modules(layer)}:
            layer = layer.copy(parent=None, name=None)
        seen |= {id(each) for each in _modules(layer)}
        apart.append(layer)
    return tuple(apart)


def _modules(module: nn.Module) -> Iterator[nn.Module]:
    """Yields a module and those that it is made of."""
    yield module
    for field in dataclasses.fields(module):
        value = getattr(module, field.name, None)
        for each in value if isinstance(value, tuple | list) else [value]:
            if field.name != "parent" and isinstance(each, nn.Module):
                yield from _modules(each)
