"""Weight layout of PyTorch's nn.RNN, nn.LSTM and nn.GRU: `module.state_dict()`.

The names are `weight_ih_l0`, `weight_hh_l0`, `bias_ih_l0`, `bias_hh_l0`, with the number of the
layer, and the suffix `_reverse` for the backward direction. Kernels are those of rnnjax transposed,
[gates * hidden_size, inputs]. The gates have the same order: i, f, g, o and r, z, n.

Every module has two biases. A GRU of rnnjax has both. A simple cell and an LSTM have their sum:
`to_torch` writes it to `bias_ih` and zeros to `bias_hh`, so that weights that return to PyTorch are
the same function, not the same two numbers. `weight_hr_l0`, of an nn.LSTM with `proj_size`, is the
transposed kernel of `LSTMCell(projection=...)`.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from rnnjax.cells import SimpleCell
from rnnjax.errors import InputError
from rnnjax.interop.weight_layouts import (
    RNNJAX,
    LayerDirection,
    Shape,
    WeightLayout,
    Weights,
    add_biases,
    convert_weights,
    flatten,
    layer_directions,
    unflatten,
)
from rnnjax.layers import RNN, Bidirectional, Stack

TITLE = "PyTorch's state_dict"
_ACTIVATIONS = ("tanh", "relu", jnp.tanh, jax.lax.tanh, jax.nn.relu)


def from_torch(layer: nn.Module, state_dict: Mapping[str, Any]) -> dict[str, Any]:
    """Converts a state_dict of PyTorch to parameters of an rnnjax layer.

    Args:
      layer: an `RNN`, a `Bidirectional` or a `Stack` of equals.
      state_dict: of the recurrent module, without the prefix that its names have in the
        state_dict of a larger one.

    Returns:
      The 'params' of `layer`, NumPy arrays of the cells' `param_dtype`.

    Raises:
      InputError: PyTorch has no such layer, or an array is missing, not expected or of another
        shape.
    """
    _require_convertible(layer)
    if not isinstance(state_dict, Mapping):
        raise InputError(
            f"{TITLE}: given a {type(state_dict).__name__}, expected a mapping from names to "
            "arrays: module.state_dict()"
        )
    return unflatten(convert_weights(layer, state_dict, TORCH, RNNJAX))


def to_torch(layer: nn.Module, params: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Converts parameters of an rnnjax layer to a state_dict of PyTorch, as NumPy arrays.

    Args:
      layer: an `RNN`, a `Bidirectional` or a `Stack` of equals.
      params: its 'params'.

    Raises:
      InputError: PyTorch has no such layer, or `params` are not those of `layer`.
    """
    _require_convertible(layer)
    return convert_weights(layer, flatten(params, RNNJAX.title), RNNJAX, TORCH)


def _require_convertible(layer: nn.Module) -> None:
    directions = layer_directions(layer, TORCH)
    for cell in (direction.cell for direction in directions):
        if isinstance(cell, SimpleCell) and cell.activation not in _ACTIVATIONS:
            raise InputError(
                f"layer: given SimpleCell(activation={cell.activation!r}); nn.RNN has tanh and "
                "relu, expected 'tanh' or 'relu'"
            )
    layers = layer.layers if isinstance(layer, Stack) else [layer]
    if any(isinstance(part, RNN) and part.reverse for part in layers):
        raise InputError(
            "layer: given RNN(reverse=True); PyTorch reads forward or both ways. Convert it with "
            "reverse=False, which has the same parameters, and reverse the sequences"
        )
    if any(isinstance(part, Bidirectional) and part.merge != "concat" for part in layers[:-1]):
        raise InputError(
            "layer: given a Stack of Bidirectional layers with another merge than 'concat' below "
            "the last, and PyTorch has that alone; convert them one by one, with stack.layers[0] "
            "and params['layers_0'], and so on"
        )
    if len({_module_type(direction) for direction in directions}) > 1:
        raise InputError(
            "layer: given a Stack of layers that differ in cell, features or directions, and one "
            "module of PyTorch has the same for all; convert them one by one, with "
            "stack.layers[0] and params['layers_0'], and so on"
        )


def _module_type(direction: LayerDirection) -> tuple[Any, ...]:
    activation = getattr(direction.cell, "activation", None)
    return (
        type(direction.cell),
        direction.features,
        direction.outputs,
        direction.name == "",
        activation,
    )


def _arrays(direction: LayerDirection) -> dict[str, Shape]:
    suffix = f"_l{direction.layer_index or 0}"
    suffix += "_reverse" if direction.name == "backward" else ""
    arrays: dict[str, Shape] = {
        f"weight_ih{suffix}": (direction.units, direction.inputs),
        f"weight_hh{suffix}": (direction.units, direction.outputs),
        f"bias_ih{suffix}": (direction.units,),
        f"bias_hh{suffix}": (direction.units,),
    }
    if direction.has_projection:
        arrays[f"weight_hr{suffix}"] = (direction.outputs, direction.features)
    return arrays


def _read(direction: LayerDirection, *arrays: np.ndarray) -> Weights:
    kernel, recurrent_kernel, bias, recurrent_bias, *projection = arrays
    if direction.has_recurrent_bias:
        return Weights(kernel.T, recurrent_kernel.T, bias, recurrent_bias)
    bias = add_biases(bias, recurrent_bias)
    return Weights(kernel.T, recurrent_kernel.T, bias, None, *(kernel.T for kernel in projection))


def _write(direction: LayerDirection, weights: Weights) -> Iterable[np.ndarray]:
    bias, recurrent_bias = weights.bias, weights.recurrent_bias
    if recurrent_bias is None:
        recurrent_bias = np.zeros_like(bias)
    arrays = [weights.kernel.T, weights.recurrent_kernel.T, bias, recurrent_bias]
    if weights.projection_kernel is not None:
        arrays.append(weights.projection_kernel.T)
    return arrays


TORCH = WeightLayout(TITLE, ("activation", "projection"), _arrays, _read, _write)
