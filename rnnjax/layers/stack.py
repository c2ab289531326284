"""Stacked recurrent layers."""

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
    """Runs layers on top of each other under one mask.

    Dropout draws from the rng stream 'dropout'; a call without it is an evaluation.

    Attributes:
      layers: `RNN`, `Bidirectional` and other layers of the same call. All but the last return
        sequences. A layer or cell that appears several times is copied: parameters are not
        shared.
      dropout: rate on the inputs of each layer but the first, as in PyTorch. Zaremba, Sutskever,
        Vinyals, Recurrent neural network regularization, 2014.
      variational: one dropout mask for all steps. Gal, Ghahramani, A theoretically grounded
        application of dropout in recurrent neural networks, NeurIPS 2016. For the
        inputs of the first layer and the outputs of the last use flax's `nn.Dropout(rate,
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
        object.__setattr__(self, "layers", _copy_shared(self.layers))
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
          initial_state: a state for each layer; None for one of them, or for all, is the initial
            state of the cells.
          resets: as for `RNN`.

        Raises:
          InputError: there is not one initial state for each layer, a layer below another one
            returns no sequences, or as the layers raise it.
        """
        states = [None] * len(self.layers) if initial_state is None else initial_state
        count = len(self.layers)
        require_states(states, count, f"a state for each of the {count} layers")
        final_states = []
        outputs = inputs
        for index, (layer, state) in enumerate(zip(self.layers, states, strict=True)):
            if index:
                _require_sequences(index - 1, outputs, inputs)
                axes = (1,) if self.variational else ()
                drop = nn.Dropout(self.dropout, broadcast_dims=axes)
                outputs = drop(outputs, deterministic=not self.has_rng("dropout"))
            final_state, outputs = layer(outputs, mask, state, resets)
            final_states.append(final_state)
        return tuple(final_states), outputs


def _require_layers(layers: Any) -> None:
    if not isinstance(layers, tuple | list) or not layers:
        raise InputError(f"layers: given {layers!r}, expected [RNN(cell), ...]")
    for index, layer in enumerate(layers):
        if isinstance(layer, type | AbstractCell | nn.RNNCellBase):
            kind, name = ("class", layer) if isinstance(layer, type) else ("cell", type(layer))
            raise InputError(
                f"layers[{index}]: given the {kind} {name.__name__}, expected a layer: RNN(cell) "
                "or Bidirectional(cell)"
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


def _copy_shared(layers: Sequence[nn.Module]) -> tuple[nn.Module, ...]:
    """Returns the layers, with a copy of each that shares a module with one below."""
    used: set[int] = set()
    separate = []
    for layer in layers:
        if used & {id(module) for module in _modules(layer)}:
            layer = layer.copy(parent=None, name=None)
        used |= {id(module) for module in _modules(layer)}
        separate.append(layer)
    return tuple(separate)


def _modules(module: nn.Module) -> Iterator[nn.Module]:
    """Yields a module and its submodules."""
    yield module
    for field in dataclasses.fields(module):
        value = getattr(module, field.name, None)
        for child in value if isinstance(value, tuple | list) else [value]:
            if field.name != "parent" and isinstance(child, nn.Module):
                yield from _modules(child)
