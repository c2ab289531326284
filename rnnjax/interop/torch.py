"""Weights as PyTorch's nn.RNN, nn.LSTM and nn.GRU give and take them: `module.state_dict()`.

The names are `weight_ih_l0`, `weight_hh_l0`, `bias_ih_l0`, `bias_hh_l0`, with the number of the
layer, and `_reverse` behind them for the direction back. Kernels are our kernels transposed,
[gates * hidden_size, inputs]. The gates stand in our order: i, f, g, o and r, z, n.

Every module has two biases. Those of a GRU are ours. A simple cell and an LSTM add the two up, and
ours is the sum: `to_torch` puts it into `bias_ih` and zeros into `bias_hh`, so that what comes from
PyTorch and goes back is the same function, not the same two numbers. `weight_hr_l0`, of an nn.LSTM
with `proj_size`, is the transposed kernel of our `LSTMCell(projection=...)`.
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
    OURS,
    LayerDirection,
    Shape,
    WeightLayout,
    Weights,
    flat,
    layer_directions,
    sum_of_biases,
    translate,
    tree,
)
from rnnjax.layers import RNN, Bidirectional, Stack

OWNER = "PyTorch's state_dict"
_ACTIVATIONS = ("tanh", "relu", jnp.tanh, jax.lax.tanh, jax.nn.relu)


def from_torch(layer: nn.Module, state_dict: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the parameters of our layer from the state_dict of their module.

    Args:
      layer: an `RNN`, a `Bidirectional` or a `Stack` of equals.
      state_dict: of their module alone, on the CPU; without the prefix that its name has in the
        state_dict of a larger one.

    Returns:
      The 'params' of `layer`, NumPy arrays of the cells' `param_dtype`.

    Raises:
      InputError: PyTorch has no such layer, or an array is missing, not expected or of another
        shape.
    """
    _require_expressible(layer)
    if not isinstance(state_dict, Mapping):
        raise InputError(
            f"{OWNER}: given a {type(state_dict).__name__}, expected a mapping from names to "
            "arrays: module.state_dict()"
        )
    return tree(translate(layer, state_dict, TORCH, OURS))


def to_torch(layer: nn.Module, params: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Returns the state_dict of their module, in NumPy arrays, from the parameters of our layer.

    Args:
      layer: an `RNN`, a `Bidirectional` or a `Stack` of equals.
      params: its 'params'.

    Raises:
      InputError: PyTorch has no such layer, or `params` are not those of `layer`.
    """
    _require_expressible(layer)
    return translate(layer, flat(params, OURS.owner), OURS, TORCH)


def _require_expressible(layer: nn.Module) -> None:
    found = layer_directions(layer, TORCH)
    for cell in (run.cell for run in found):
        if isinstance(cell, SimpleCell) and cell.activation not in _ACTIVATIONS:
            raise InputError(
                f"layer: given SimpleCell(activation={cell.activation!r}); nn.RNN has tanh and "
                "relu, expected 'tanh' or 'relu'"
            )
    layers = layer.layers if isinstance(layer, Stack) else [layer]
    if any(isinstance(each, RNN) and each.reverse for each in layers):
        raise InputError(
            "layer: given RNN(reverse=True); PyTorch reads forward or both ways. Convert it with "
            "reverse=False, which has the same parameters, and turn the sequences round"
        )
    if any(isinstance(each, Bidirectional) and each.merge != "concat" for each in layers[:-1]):
        raise InputError(
            "layer: given a Stack of Bidirectional layers with another merge than 'concat' below "
            "the last, and PyTorch has that alone; convert them one by one, with stack.layers[0] "
            "and params['layers_0'], and so on"
        )
    if len({_kind(run) for run in found}) > 1:
        raise InputError(
            "layer: given a Stack of layers that differ in cell, features or directions, and one "
            "module of PyTorch has the same for all; convert them one by one, with "
            "stack.layers[0] and params['layers_0'], and so on"
        )


def _kind(run: LayerDirection) -> tuple[Any, ...]:
    activation = getattr(run.cell, "activation", None)
    return type(run.cell), run.features, run.outputs, run.direction == "", activation


def _arrays(run: LayerDirection) -> dict[str, Shape]:
    end = f"_l{run.layer or 0}{'_reverse' if run.direction == 'backward' else ''}"
    arrays: dict[str, Shape] = {
        f"weight_ih{end}": (run.units, run.inputs),
        f"weight_hh{end}": (run.units, run.outputs),
        f"bias_ih{end}": (run.units,),
        f"bias_hh{end}": (run.units,),
    }
    if run.projected:
        arrays[f"weight_hr{end}"] = (run.outputs, run.features)
    return arrays


def _read(run: LayerDirection, *arrays: np.ndarray) -> Weights:
    kernel, recurrent_kernel, bias, recurrent_bias, *projection = arrays
    if run.recurrent_bias:
        return Weights(kernel.T, recurrent_kernel.T, bias, recurrent_bias)
    bias = sum_of_biases(bias, recurrent_bias)
    return Weights(kernel.T, recurrent_kernel.T, bias, None, *(each.T for each in projection))


def _write(run: LayerDirection, weights: Weights) -> Iterable[np.ndarray]:
    bias, recurrent_bias = weights.bias, weights.recurrent_bias
    if recurrent_bias is None:
        recurrent_bias = np.zeros_like(bias)
    arrays = [weights.kernel.T, weights.recurrent_kernel.T, bias, recurrent_bias]
    if weights.projection_kernel is not None:
        arrays.append(weights.projection_kernel.T)
    return arrays


TORCH = WeightLayout(OWNER, ("activation", "projection"), _arrays, _read, _write)
