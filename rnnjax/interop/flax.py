"""Weights as the cells of flax.linen hold them inside nn.RNN, nn.Bidirectional and nn.Sequential.

Every gate has arrays of its own, `i<gate>` for the inputs and `h<gate>` for the state: i, f, g, o
of an nn.LSTMCell or an nn.OptimizedLSTMCell, r, z, n of an nn.GRUCell, plain `i` and `h` of an
nn.SimpleCell. Kernels are [inputs, features]. The bias of an LSTM is that of `h<gate>`, the bias
of a simple cell that of `i`. A GRU has a bias in each `i<gate>`, and in `hn`: r and z add up the
product with the inputs and that with the state, and need no second bias. Ours has one for them;
`to_flax` gives the sum, so that the two come back as one. b_hn is scaled by r, and stays itself.

In the params of an nn.RNN the cell is `cell`; an nn.Bidirectional has `forward_rnn` and
`backward_rnn`, an nn.Sequential `layers_0` and so on (it gives `seq_lengths` to the first alone).
A cell that was made inside a compact method has its arrays beside those of the nn.RNN: give
`{"cell": params["LSTMCell_0"]}`. An nn.SimpleCell with `residual=True` is another function of the
same params, and cannot be told from one without.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import flax.linen as nn
import numpy as np

from rnnjax.cells import GRUCell, LSTMCell, SimpleCell
from rnnjax.interop.weight_layouts import (
    OURS,
    LayerDirection,
    Shape,
    WeightLayout,
    Weights,
    flat,
    sum_of_biases,
    translate,
    tree,
)

_GATES = {SimpleCell: ("",), LSTMCell: tuple("ifgo"), GRUCell: tuple("rzn")}
_BIASES = {
    SimpleCell: ("i",),
    LSTMCell: ("hi", "hf", "hg", "ho"),
    GRUCell: ("ir", "iz", "in", "hn"),
}


def from_flax(layer: nn.Module, params: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the parameters of our layer from the params of theirs.

    Args:
      layer: an `RNN`, a `Bidirectional` or a `Stack` of these.
      params: of their nn.RNN, nn.Bidirectional or nn.Sequential.

    Returns:
      The 'params' of `layer`, NumPy arrays of the cells' `param_dtype`.

    Raises:
      InputError: flax has no such layer, or an array is missing, not expected or of another shape.
    """
    return tree(translate(layer, flat(params, FLAX.owner), FLAX, OURS))


def to_flax(layer: nn.Module, params: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the params of their layer, in NumPy arrays, from the parameters of ours.

    Args:
      layer: an `RNN`, a `Bidirectional` or a `Stack` of these.
      params: its 'params'.

    Raises:
      InputError: flax has no such layer, or `params` are not those of `layer`.
    """
    return tree(translate(layer, flat(params, OURS.owner), OURS, FLAX))


def _arrays(run: LayerDirection) -> dict[str, Shape]:
    kind = type(run.cell)
    inside = (*([f"{run.direction}_rnn"] if run.direction else []), "cell")
    arrays: dict[str, Shape] = {}
    for gate in _GATES[kind]:
        arrays[run.path(*inside, f"i{gate}", "kernel")] = (run.inputs, run.features)
    for gate in _GATES[kind]:
        arrays[run.path(*inside, f"h{gate}", "kernel")] = (run.features, run.features)
    for name in _BIASES[kind]:
        arrays[run.path(*inside, name, "bias")] = (run.features,)
    return arrays


def _read(run: LayerDirection, *arrays: np.ndarray) -> Weights:
    gates = len(_GATES[type(run.cell)])
    kernel, recurrent_kernel, bias = (
        np.concatenate(arrays[first : first + gates], axis=-1) for first in (0, gates, 2 * gates)
    )
    if not run.recurrent_bias:
        return Weights(kernel, recurrent_kernel, bias)
    new = arrays[-1]
    zeros = np.zeros_like(new)
    return Weights(kernel, recurrent_kernel, bias, np.concatenate([zeros, zeros, new]))


def _write(run: LayerDirection, weights: Weights) -> Iterable[np.ndarray]:
    gates = len(_GATES[type(run.cell)])
    biases = np.split(weights.bias, gates)
    if weights.recurrent_bias is not None:
        r, z, n = np.split(weights.recurrent_bias, gates)
        biases = [sum_of_biases(biases[0], r), sum_of_biases(biases[1], z), biases[2], n]
    kernels = np.split(weights.kernel, gates, axis=-1)
    return [*kernels, *np.split(weights.recurrent_kernel, gates, axis=-1), *biases]


FLAX = WeightLayout("flax's params", ("activation",), _arrays, _read, _write)
