"""Weight layout of Keras: `layer.get_weights()`, `layer.set_weights(...)`.

A layer's list is [kernel, recurrent_kernel, bias]; that of a Bidirectional is the forward layer's
list followed by the backward layer's. Kernels are [inputs, gates * units], as in rnnjax. The gates
of an LSTM are i, f, c, o, where c is g in rnnjax; those of a GRU z, r, h, where h is n. A GRU with
`reset_after=True`, Keras' default, has both biases in one array [2, 3 * units], the input's first.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

import flax.linen as nn
import numpy as np

from rnnjax.cells import GRUCell
from rnnjax.errors import InputError
from rnnjax.interop.weight_layouts import (
    RNNJAX,
    LayerDirection,
    Shape,
    WeightLayout,
    Weights,
    convert_weights,
    flatten,
    layer_directions,
    unflatten,
)
from rnnjax.layers import Stack

TITLE = "Keras' weights"


def from_keras(layer: nn.Module, weights: Sequence[Any]) -> dict[str, Any]:
    """Converts weights of Keras to parameters of an rnnjax layer.

    Args:
      layer: an `RNN`, a `Bidirectional` or a `Stack` of these.
      weights: `get_weights()` of a layer; for a `Stack` a list with one such list a layer.

    Returns:
      The 'params' of `layer`, NumPy arrays of the cells' `param_dtype`.

    Raises:
      InputError: `layer` has no counterpart, or an array is missing, too many or of another shape.
    """
    return unflatten(convert_weights(layer, _name_arrays(layer, weights), KERAS, RNNJAX))


def to_keras(layer: nn.Module, params: Mapping[str, Any]) -> list[Any]:
    """Converts parameters of an rnnjax layer to weights of Keras.

    Args:
      layer: an `RNN`, a `Bidirectional` or a `Stack` of these.
      params: its 'params'.

    Returns:
      The argument of `set_weights`; for a `Stack` a list with one such argument a layer.

    Raises:
      InputError: `layer` has no counterpart, or `params` are not those of `layer`.
    """
    arrays = convert_weights(layer, flatten(params, RNNJAX.title), RNNJAX, KERAS)
    lists = [[arrays[name] for name in names] for names in _array_names(layer)]
    return lists if isinstance(layer, Stack) else lists[0]


def _array_names(layer: nn.Module) -> list[list[str]]:
    """Returns the names of each layer's arrays, in the order of Keras."""
    groups = groupby(layer_directions(layer, KERAS), key=lambda direction: direction.layer_index)
    return [[name for direction in group for name in _arrays(direction)] for _, group in groups]


def _name_arrays(layer: nn.Module, weights: Sequence[Any]) -> dict[str, Any]:
    names = _array_names(layer)
    lists = weights if isinstance(layer, Stack) else [weights]
    if not isinstance(lists, list | tuple) or len(lists) != len(names):
        raise InputError(
            f"{TITLE}: given {_describe_list(lists)}, expected {len(names)}: for each layer "
            "the list of its get_weights()"
        )
    named = {}
    for index, (arrays, expected) in enumerate(zip(lists, names, strict=True)):
        if not isinstance(arrays, list | tuple) or len(arrays) != len(expected):
            raise InputError(
                f"{TITLE}: given {_describe_list(arrays)} for layer {index}, expected "
                f"{len(expected)}: {', '.join(expected)}. Where the source has no bias, pass zeros"
            )
        named |= zip(expected, arrays, strict=True)
    return named


def _describe_list(value: Any) -> str:
    return f"a list of {len(value)}" if isinstance(value, list | tuple) else type(value).__name__


def _arrays(direction: LayerDirection) -> dict[str, Shape]:
    prefix = "" if direction.layer_index is None else f"layer {direction.layer_index}, "
    prefix += f"{direction.name} " if direction.name else ""
    return {
        f"{prefix}kernel": (direction.inputs, direction.units),
        f"{prefix}recurrent_kernel": (direction.features, direction.units),
        f"{prefix}bias": (2, direction.units)
        if direction.has_recurrent_bias
        else (direction.units,),
    }


def _read(direction: LayerDirection, *arrays: np.ndarray) -> Weights:
    kernel, recurrent_kernel, bias = (_swap_gates(direction, array) for array in arrays)
    if direction.has_recurrent_bias:
        return Weights(kernel, recurrent_kernel, bias[0], bias[1])
    return Weights(kernel, recurrent_kernel, bias)


def _write(direction: LayerDirection, weights: Weights) -> Iterable[np.ndarray]:
    bias = weights.bias
    if weights.recurrent_bias is not None:
        bias = np.stack([bias, weights.recurrent_bias])
    arrays = (weights.kernel, weights.recurrent_kernel, bias)
    return (_swap_gates(direction, array) for array in arrays)


def _swap_gates(direction: LayerDirection, units: np.ndarray) -> np.ndarray:
    """Swaps the first two gates of a GRU: r, z, n and z, r, n."""
    if not isinstance(direction.cell, GRUCell):
        return units
    first, second, new = np.split(units, 3, axis=-1)
    return np.concatenate([second, first, new], axis=-1)


KERAS = WeightLayout(TITLE, ("activation", "reset_after"), _arrays, _read, _write)
