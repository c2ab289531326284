"""How cells begin: as in Keras, PyTorch, flax or haiku, and with biases for long memories."""

import math
from collections.abc import Callable
from typing import Any, TypeVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from rnnjax.cells.base import Initializer
from rnnjax.cells.gru import GRUCell
from rnnjax.cells.lstm import LSTMCell, forget_bias
from rnnjax.cells.simple import SimpleCell
from rnnjax.errors import InputError

Plain = TypeVar("Plain", SimpleCell, LSTMCell, GRUCell)
Inits = dict[str, Initializer]

_orthogonal = nn.initializers.orthogonal()
_lecun_normal = nn.initializers.lecun_normal()
_zeros = nn.initializers.zeros


def dialect(name: str, cell: Plain, inputs: int | None = None) -> Plain:
    r"""Returns a cell that begins as it would in another library: `dialect('torch', LSTMCell(64))`.

    ======  ===========================  ============================  =============================
    name    input kernel                 recurrent kernel              bias
    ======  ===========================  ============================  =============================
    keras   Glorot uniform, all gates    orthogonal, all gates         zero, forget gate one
    torch   uniform                      uniform                       uniform; two that are added
    flax    LeCun normal                 orthogonal, each gate         zero
    haiku   truncated normal             truncated normal              zero, forget gate one
    ======  ===========================  ============================  =============================

    keras is how the cells of this package begin anyway. 'All gates' is one matrix of all gates side
    by side: a fan-out of all, and rows orthogonal over all.

    torch draws everything from :math:`U(-1/\sqrt n, 1/\sqrt n)`, n the features. A simple cell and
    an LSTM have two biases there, and the one here is the sum of two draws.

    haiku (0.0.17) has no one rule. Its LSTM reads inputs and state as one vector: a normal of
    standard deviation :math:`1/\sqrt{inputs + n}`, cut off at two of them, which leaves 0.88 of it.
    The 1 that it adds to the forget gate in the step is in the bias here. The simple cell has the
    same by the rows of each kernel, the GRU with the 0.88 made good, which is LeCun normal. That
    GRU resets before the product (`reset_after=False`), that simple cell has relu and two biases.

    Args:
      name: 'keras', 'torch', 'flax' or 'haiku'.
      cell: a `SimpleCell`, an `LSTMCell` or a `GRUCell`, whose initializers are replaced.
      inputs: how many the cell reads, for the LSTM of haiku alone.

    Raises:
      InputError: there is no such dialect, none for this cell, or `inputs` are missing or wrong.
    """
    if name not in DIALECTS:
        raise InputError(f"dialect: given {name!r}, expected one of {', '.join(DIALECTS)}")
    if type(cell) not in _GATES:
        kind = cell if isinstance(cell, type) else type(cell)
        given = f"the class {kind.__name__}" if kind is cell else kind.__name__
        raise InputError(
            f"dialect: given {given} of {kind.__module__}, expected one of "
            f"{', '.join(f'{each.__name__}(64)' for each in _GATES)} of rnnjax.cells"
        )
    # Without the place that a module under construction has given it: the copy finds its own.
    changes: dict[str, Any] = DIALECTS[name](cell, inputs)
    if isinstance(cell, GRUCell):
        changes.setdefault("recurrent_bias_init", _zeros)
    return cell.clone(parent=None, name=None, **changes)


def per_gate(init: Initializer, gates: int) -> Initializer:
    """Returns an initializer of several gates side by side, each drawn by itself.

    For initializers that look at the whole of a matrix: orthogonal, Glorot.
    """

    def draw(key, shape, dtype=jnp.float32, out_sharding=None):
        del out_sharding
        if shape[-1] % gates:
            raise InputError(
                f"per_gate: given the shape {tuple(shape)}, whose last axis is not {gates} gates "
                "side by side; expected a multiple of that number"
            )
        part = (*shape[:-1], shape[-1] // gates)
        keys = jax.random.split(key, gates)
        return jnp.concatenate([init(each, part, dtype) for each in keys], axis=-1)

    return draw


def uniform(bound: float) -> Initializer:
    """Returns an initializer that draws uniformly between -bound and bound."""

    def draw(key, shape, dtype=jnp.float32, out_sharding=None):
        del out_sharding
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return draw


def chrono(max_steps: int, gate: int = 1, gates: int = 4, opposite: int | None = 0) -> Initializer:
    r"""Returns an initializer of a bias of several gates, for memories of up to `max_steps` steps.

    A gate that keeps the share :math:`\sigma(b)` of the state forgets over about :math:`1 + e^b`
    steps. With :math:`b = \log u`, u uniform on [1, max_steps - 1], these are spread evenly over
    the range. The gate that lets in gets the negative, all others zero.

    By default it is that of an LSTM, whose forget gate is the second of four and whose input gate
    is the first: `LSTMCell(64, bias_init=chrono(784))`. A GRU has one gate for both; z keeps here,
    where that of the paper lets in, and has the other sign therefore: `GRUCell(64,
    bias_init=chrono(784, gates=3, opposite=None))`.

    Source: Tallec, Ollivier, Can recurrent neural networks warp time?, ICLR 2018.

    Args:
      max_steps: the longest dependency expected, at least 2.
      gate: place of the gate that keeps.
      gates: how many stand side by side.
      opposite: place of the gate that lets in; None if there is none.

    Raises:
      InputError: `max_steps` is below 2.
    """
    if max_steps < 2:
        raise InputError(f"max_steps: given {max_steps}, expected at least 2")

    def draw(key, shape, dtype=jnp.float32, out_sharding=None):
        del out_sharding
        part = (*shape[:-1], shape[-1] // gates)
        kept = jnp.log(jax.random.uniform(key, part, dtype, 1, max_steps - 1))
        parts = [jnp.zeros_like(kept)] * gates
        parts[gate] = kept
        if opposite is not None:
            parts[opposite] = -kept
        return jnp.concatenate(parts, axis=-1)

    return draw


_GATES: dict[type[nn.Module], Callable[..., int]] = {
    SimpleCell: lambda cell: 1,
    LSTMCell: lambda cell: 4 - cell.coupled,
    GRUCell: lambda cell: 3,
}


def _keras(cell: Plain, inputs: int | None) -> Inits:
    del inputs
    return {
        "kernel_init": nn.initializers.xavier_uniform(),
        "recurrent_init": _orthogonal,
        "bias_init": forget_bias() if isinstance(cell, LSTMCell) else _zeros,
    }


def _torch(cell: Plain, inputs: int | None) -> Inits:
    del inputs
    draw = uniform(1 / math.sqrt(cell.features))

    def two(key, shape, dtype=jnp.float32, out_sharding=None):
        del out_sharding
        one, other = jax.random.split(key)
        return draw(one, shape, dtype) + draw(other, shape, dtype)

    inits = {"kernel_init": draw, "recurrent_init": draw}
    if isinstance(cell, GRUCell):
        return {**inits, "bias_init": draw, "recurrent_bias_init": draw}
    return {**inits, "bias_init": two}


def _flax(cell: Plain, inputs: int | None) -> Inits:
    del inputs
    # The fan-in of one gate is that of all: LeCun's needs no splitting.
    return {
        "kernel_init": _lecun_normal,
        "recurrent_init": per_gate(_orthogonal, _GATES[type(cell)](cell)),
        "bias_init": _zeros,
    }


def _haiku(cell: Plain, inputs: int | None) -> Inits:
    if isinstance(cell, GRUCell):
        return {"kernel_init": _lecun_normal, "recurrent_init": _lecun_normal, "bias_init": _zeros}
    if isinstance(cell, SimpleCell):
        by_rows = _cut_normal(lambda shape: shape[0])
        return {"kernel_init": by_rows, "recurrent_init": by_rows, "bias_init": _zeros}
    if inputs is None:
        raise InputError(
            "dialect: given 'haiku' for an LSTMCell without inputs, and there the recurrent kernel "
            "begins by the number of inputs and features together; expected inputs=..."
        )
    units = _GATES[LSTMCell](cell) * cell.features
    joined = _cut_normal(lambda shape: inputs + (cell.projection or cell.features))

    def kernel(key, shape, dtype=jnp.float32, out_sharding=None):
        if shape[-1] == units and shape[0] != inputs:
            raise InputError(
                f"dialect: given inputs={inputs}, and the cell reads {shape[0]}; expected "
                f"inputs={shape[0]}"
            )
        return joined(key, shape, dtype, out_sharding)

    return {"kernel_init": kernel, "recurrent_init": joined, "bias_init": forget_bias()}


def _cut_normal(fan_in: Callable[[tuple[int, ...]], int]) -> Initializer:
    """Returns haiku's default: a normal by the fan-in, cut off at two standard deviations."""

    def draw(key, shape, dtype=jnp.float32, out_sharding=None):
        del out_sharding
        scale = 1 / math.sqrt(fan_in(shape))
        return nn.initializers.truncated_normal(scale)(key, shape, dtype)

    return draw


DIALECTS: dict[str, Callable[..., Inits]] = {
    "keras": _keras,
    "torch": _torch,
    "flax": _flax,
    "haiku": _haiku,
}
"""The initializers of a cell by the library in whose manner it is to begin."""
