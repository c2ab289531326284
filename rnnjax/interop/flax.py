"""Weight layout of the cells of flax.linen inside nn.RNN, nn.Bidirectional and nn.Sequential.

Every gate has separate arrays, `i<gate>` for the inputs and `h<gate>` for the state: i, f, g, o
of an nn.LSTMCell or an nn.OptimizedLSTMCell, r, z, n of an nn.GRUCell, plain `i` and `h` of an
nn.SimpleCell. Kernels are [inputs, features]. The bias of an LSTM is that of `h<gate>`, the bias
of a simple cell that of `i`. A GRU has a bias in each `i<gate>`, and in `hn`: r and z add up the
product with the inputs and that with the state, and need no second bias. rnnjax has one for them;
`to_flax` writes the sum, so that the two come back as one. b_hn is scaled by r, and stays separate.

In the params of an nn.RNN the cell is `cell`; an nn.Bidirectional has `forward_rnn` and
`backward_rnn`, an nn.Sequential `layers_0` and so on (it gives `seq_lengths` to the first alone).
The arrays of a cell that was created inside a compact method stand beside those of the nn.RNN: pass
`{"cell": params["LSTMCell_0"]}`. An nn.SimpleCell with `residual=True` is another function of the
same params, and cannot be distinguished from one without.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import flax.linen as nn
import numpy as np

from rnnjax.cells import GRUCell, LSTMCell, SimpleCell
from rnnjax.interop.weight_layouts import (
    RNNJAX,
    LayerDirection,
    Shape,
    WeightLayout,
    Weights,
    add_biases,
    convert_weights,
    flatten,
    unflatten,
)

_GATES = {SimpleCell: ("",), LSTMCell: tuple("ifgo"), GRUCell: tuple("rzn")}
_BIASES = {
    SimpleCell: ("i",),
    LSTMCell: ("hi", "hf", "hg", "ho"),
    GRUCell: ("ir", "iz", "in", "hn"),
}


def from_flax(layer: nn.Module, params: Mapping[str, Any]) -> dict[str, Any]:
    """Converts params of flax to parameters of an rnnjax layer.

    Args:
      layer: an `RNN`, a `Bidirectional` or a `Stack` of these.
      params: of an nn.RNN, nn.Bidirectional or nn.Sequential.

    Returns:
      The 'params' of `layer`, NumPy arrays of the cells' `param_dtype`.

    Raises:
      InputError: flax has no such layer, or an array is missing, not expected or of another shape.
    """
    return unflatten(convert_weights(layer, flatten(params, FLAX.title), FLAX, RNNJAX))


def to_flax(layer: nn.Module, params: Mapping[str, Any]) -> dict[str, Any]:
    """Converts parameters of an rnnjax layer to params of flax, as NumPy arrays.

    Args:
      layer: an `RNN`, a `Bidirectional` or a `Stack` of these.
      params: its 'params'.

    Raises:
      InputError: flax has no such layer, or `params` are not those of `layer`.
    """
    return unflatten(convert_weights(layer, flatten(params, RNNJAX.title), RNNJAX, FLAX))


def _arrays(direction: LayerDirection) -> dict[str, Shape]:
    cell_type = type(direction.cell)
    scope = (*([f"{direction.name}_rnn"] if direction.name else []), "cell")
    arrays: dict[str, Shape] = {}
    for gate in _GATES[cell_type]:
        arrays[direction.path(*scope, f"i{gate}", "kernel")] = (
            direction.inputs,
            direction.features,
        )
    for gate in _GATES[cell_type]:
        arrays[direction.path(*scope, f"h{gate}", "kernel")] = (
            direction.features,
            direction.features,
        )
    for name in _BIASES[cell_type]:
        arrays[direction.path(*scope, name, "bias")] = (direction.features,)
    return arrays


def _read(direction: LayerDirection, *arrays: np.ndarray) -> Weights:
    gates = len(_GATES[type(direction.cell)])
    kernel, recurrent_kernel, bias = (
        np.concatenate(arrays[first : first + gates], axis=-1) for first in (0, gates, 2 * gates)
    )
    if not direction.has_recurrent_bias:
        return Weights(kernel, recurrent_kernel, bias)
    new = arrays[-1]
    zeros = np.zeros_like(new)
    return Weights(kernel, recurrent_kernel, bias, np.concatenate([zeros, zeros, new]))


def _write(direction: LayerDirection, weights: Weights) -> Iterable[np.ndarray]:
    gates = len(_GATES[type(direction.cell)])
    biases = np.split(weights.bias, gates)
    if weights.recurrent_bias is not None:
        r, z, n = np.split(weights.recurrent_bias, gates)
        biases = [add_biases(biases[0], r), add_biases(biases[1], z), biases[2], n]
    kernels = np.split(weights.kernel, gates, axis=-1)
    return [*kernels, *np.split(weights.recurrent_kernel, gates, axis=-1), *biases]


FLAX = WeightLayout("flax's params", ("activation",), _arrays, _read, _write)
