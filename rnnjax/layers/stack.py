"""Stacked recurrent layers."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, Literal, get_args

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from rnnjax.cells import AbstractCell, State
from rnnjax.cells.base import require_rate
from rnnjax.errors import InputError
from rnnjax.kernels import flat_dot_general, sigmoid
from rnnjax.layers.validation import require_states

Connection = Literal["", "residual", "highway"]


class Stack(nn.Module):
    r"""Runs layers on top of each other under one mask.

    Dropout draws from the rng stream 'dropout'; a call without it is an evaluation.

    A connection adds the inputs of a layer to its outputs, in all layers but the lowest whose
    outputs have the shape of the inputs:

    .. math::
        y &= x + f(x) \quad \text{(residual)} \\
        y &= t f(x) + (1 - t) x, \quad t = \sigma(W_t x + b_t) \quad \text{(highway)}

    b_t begins at -1, so that a layer carries its inputs more than it transforms them.

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
      connection: 'residual' (He et al., Deep residual learning for image recognition, CVPR 2016),
        'highway' (Srivastava, Greff, Schmidhuber, Training very deep networks, NeurIPS 2015), or ''
        for none.
      layer_norm: normalize what each layer but the first reads, before its dropout; a connection
        adds what is not normalized. Ba, Kiros, Hinton, Layer normalization, 2016.

    Raises:
      InputError: `layers` are no layers, the rate is out of [0, 1), there is no such connection, or
        no two layers that it could connect.
    """

    layers: Sequence[nn.Module]
    dropout: float = 0.0
    variational: bool = False
    connection: Connection = ""
    layer_norm: bool = False

    def __post_init__(self):
        require_rate("dropout", self.dropout)
        if self.connection not in get_args(Connection):
            raise InputError(
                f"connection: given {self.connection!r}, expected one of "
                f"{', '.join(map(repr, get_args(Connection)))}"
            )
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
        outputs, is_connected = inputs, False
        for index, (layer, state) in enumerate(zip(self.layers, states, strict=True)):
            if index:
                _require_sequences(index - 1, outputs, inputs)
            layer_inputs = outputs
            if index and self.layer_norm:
                norm = nn.LayerNorm(dtype=outputs.dtype, name=f"norm_{index}")
                outputs = norm(outputs)
            if index:
                axes = (1,) if self.variational else ()
                drop = nn.Dropout(self.dropout, broadcast_dims=axes)
                outputs = drop(outputs, deterministic=not self.has_rng("dropout"))
            final_state, outputs = layer(outputs, mask, state, resets)
            final_states.append(final_state)
            if index and self.connection and jnp.shape(outputs) == layer_inputs.shape:
                outputs, is_connected = self._connect(index, layer_inputs, outputs), True
        if self.connection and not is_connected:
            raise InputError(
                f"connection: given {self.connection!r}, and no layer above the lowest has outputs "
                "of the shape of its inputs; expected two layers or more of the same features that "
                "return sequences"
            )
        return tuple(final_states), outputs

    def _connect(self, index: int, inputs: jax.Array, outputs: jax.Array) -> jax.Array:
        """Returns outputs of a layer with its inputs, zero where both are (masked steps)."""
        if self.connection == "residual":
            return outputs + inputs
        gate = nn.Dense(
            outputs.shape[-1],
            dtype=outputs.dtype,
            bias_init=nn.initializers.constant(-1.0),
            dot_general=flat_dot_general,
            name=f"highway_{index}",
        )
        transform = sigmoid(gate(inputs))
        return transform * outputs + (1 - transform) * inputs


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
