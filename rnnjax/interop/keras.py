"""Weights as Keras gives and takes them: `layer.get_weights()`, `layer.set_weights(...)`.

A layer's list is [kernel, recurrent_kernel, bias]; that of a Bidirectional is the forward layer's
list followed by the backward layer's. Kernels are [inputs, gates * units], as ours. The gates of an
LSTM stand as i, f, c, o, where c is our g; those of a GRU as z, r, h, where h is our n. A GRU with
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
    OURS,
    LayerDirection,
    Shape,
    WeightLayout,
    Weights,
    flat,
    layer_directions,
    translate,
    tree,
)
from rnnjax.layers import Stack

OWNER = "Keras' weights"


def from_keras(layer: nn.Module, weights: Sequence[Any]) -> dict[str, Any]:
    """Returns the parameters of our layer from the weights of theirs.

    Args:
      layer: an `RNN`, a `Bidirectional` or a `Stack` of these.
      weights: `get_weights()` of their layer; for a `Stack` a list with one such list a layer.

    Returns:
      The 'params' of `layer`, NumPy arrays of the cells' `param_dtype`.

    Raises:
      InputError: `layer` has no counterpart, or an array is missing, too many or of another shape.
    """
    return tree(translate(layer, _named(layer, weights), KERAS, OURS))


def to_keras(layer: nn.Module, params: Mapping[str, Any]) -> list[Any]:
    """Returns the weights of their layer from the parameters of ours.

    Args:
      layer: an `RNN`, a `Bidirectional` or a `Stack` of these.
      params: its 'params'.

    Returns:
      What `set_weights` of their layer takes; for a `Stack` a list with one such list a layer.

    Raises:
      InputError: `layer` has no counterpart, or `params` are not those of `layer`.
    """
    arrays = translate(layer, flat(params, OURS.owner), OURS, KERAS)
    lists = [[arrays[name] for name in names] for names in _names(layer)]
    return lists if isinstance(layer, Stack) else lists[0]


def _names(layer: nn.Module) -> list[list[str]]:
    """Returns the names of each layer's arrays, in the order of Keras."""
    by_layer = groupby(layer_directions(layer, KERAS), key=lambda run: run.layer)
    return [[name for run in group for name in _arrays(run)] for _, group in by_layer]


def _named(layer: nn.Module, weights: Sequence[Any]) -> dict[str, Any]:
    names = _names(layer)
    lists = weights if isinstance(layer, Stack) else [weights]
    if not isinstance(lists, list | tuple) or len(lists) != len(names):
        raise InputError(
            f"{OWNER}: given {_length(lists)}, expected {len(names)}: for each layer the list of "
            "its get_weights()"
        )
    named = {}
    for index, (given, expected) in enumerate(zip(lists, names, strict=True)):
        if not isinstance(given, list | tuple) or len(given) != len(expected):
            raise InputError(
                f"{OWNER}: given {_length(given)} for layer {index}, expected {len(expected)}: "
                f"{', '.join(expected)}. Where theirs has no bias, give zeros"
            )
        named |= zip(expected, given, strict=True)
    return named


def _length(given: Any) -> str:
    return f"a list of {len(given)}" if isinstance(given, list | tuple) else type(given).__name__


def _arrays(run: LayerDirection) -> dict[str, Shape]:
    place = "" if run.layer is None else f"layer {run.layer}, "
    place += f"{run.direction} " if run.direction else ""
    return {
        f"{place}kernel": (run.inputs, run.units),
        f"{place}recurrent_kernel": (run.features, run.units),
        f"{place}bias": (2, run.units) if run.recurrent_bias else (run.units,),
    }


def _read(run: LayerDirection, *arrays: np.ndarray) -> Weights:
    kernel, recurrent_kernel, bias = (_exchanged(run, array) for array in arrays)
    if run.recurrent_bias:
        return Weights(kernel, recurrent_kernel, bias[0], bias[1])
    return Weights(kernel, recurrent_kernel, bias)


def _write(run: LayerDirection, weights: Weights) -> Iterable[np.ndarray]:
    bias = weights.bias
    if weights.recurrent_bias is not None:
        bias = np.stack([bias, weights.recurrent_bias])
    arrays = (weights.kernel, weights.recurrent_kernel, bias)
    return (_exchanged(run, array) for array in arrays)


def _exchanged(run: LayerDirection, units: np.ndarray) -> np.ndarray:
    """Returns a GRU's gates r, z, n as z, r, n, and the other way about."""
    if not isinstance(run.cell, GRUCell):
        return units
    one, other, new = np.split(units, 3, axis=-1)
    return np.concatenate([other, one, new], axis=-1)


KERAS = WeightLayout(OWNER, ("activation", "reset_after"), _arrays, _read, _write)
