"""Initializers of cells: those of Keras, PyTorch, flax or haiku, and biases for long memories."""

import dataclasses
import math
from collections.abc import Callable, Iterable
from numbers import Real
from typing import Any, NamedTuple, TypeVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from rnnjax.cells.base import Initializer, symmetric_uniform
from rnnjax.cells.biases import chrono_bias, gate_bias
from rnnjax.cells.conv_lstm import ConvLSTMCell
from rnnjax.cells.gru import GRUCell
from rnnjax.cells.janet import JANETCell
from rnnjax.cells.layer_norm import LayerNormLSTMCell
from rnnjax.cells.lstm import LSTMCell
from rnnjax.cells.mgu import MGUCell
from rnnjax.cells.min_gru import MinGRUCell
from rnnjax.cells.min_lstm import MinLSTMCell
from rnnjax.cells.multiplicative_lstm import MultiplicativeLSTMCell
from rnnjax.cells.simple import SimpleCell
from rnnjax.cells.wrappers import FlaxCell
from rnnjax.errors import InputError

Plain = TypeVar("Plain", SimpleCell, LSTMCell, GRUCell)
Gated = TypeVar("Gated", bound=nn.Module)
Inits = dict[str, Initializer]

_orthogonal = nn.initializers.orthogonal()
_lecun_normal = nn.initializers.lecun_normal()
_zeros = nn.initializers.zeros


def init_like(cell: Plain, library: str, inputs: int | None = None) -> Plain:
    r"""Returns a cell that begins as in another library: `init_like(LSTMCell(64), 'torch')`.

    =======  ===========================  ============================  ============================
    library  input kernel                 recurrent kernel              bias
    =======  ===========================  ============================  ============================
    keras    Glorot uniform, all gates    orthogonal, all gates         zero, forget gate one
    torch    uniform                      uniform                       uniform; two that are added
    flax     LeCun normal                 orthogonal, each gate         zero
    haiku    truncated normal             truncated normal              zero, forget gate one
    =======  ===========================  ============================  ============================

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
      cell: a `SimpleCell`, an `LSTMCell` or a `GRUCell`, whose initializers are replaced.
      library: 'keras', 'torch', 'flax' or 'haiku'.
      inputs: how many the cell reads, for the LSTM of haiku alone.

    Raises:
      InputError: there is no such library, nothing for this cell, or `inputs` are missing or wrong.
    """
    if library not in LIBRARIES:
        raise InputError(f"library: given {library!r}, expected one of {', '.join(LIBRARIES)}")
    if type(cell) not in _GATES:
        raise _unknown("init_like", cell, _GATES)
    changes: dict[str, Any] = LIBRARIES[library](cell, inputs)
    if isinstance(cell, GRUCell):
        changes.setdefault("recurrent_bias_init", _zeros)
    return _changed(cell, changes)


def has_library_init(cell: nn.Module) -> bool:
    """Returns whether `init_like` knows the cell, by its very class."""
    return type(cell) in _GATES


def init_uniform(cell: nn.Module, bound: float, inputs: int) -> nn.Module:
    """Returns a cell whose parameters are drawn uniformly between -bound and bound.

    Source: Zaremba, Sutskever, Vinyals, Recurrent neural network regularization, 2014.

    Args:
      cell: of any class, of flax as well, whose parameters begin by attributes of the names
        `kernel_init`, `recurrent_init`, `bias_init` and so on.
      bound: of the distribution.
      inputs: features that the cell reads.

    Raises:
      InputError: a parameter begins by something else; the message names it.
    """
    names = {field.name for field in dataclasses.fields(cell)} & _UNIFORM_ATTRIBUTES
    drawn = _changed(cell, dict.fromkeys(names, nn.initializers.constant(bound)))
    with jax.ensure_compile_time_eval():  # also while a network is traced
        variables, _ = jax.jit(lambda: _init_with_output(drawn, inputs))()
        values = _named_leaves(variables["params"])
        unknown = [name for name, value in values.items() if not jnp.all(value == bound)]
    if unknown:
        raise InputError(
            f"init_uniform: given {type(cell).__name__}, whose parameters {', '.join(unknown)} do "
            f"not begin by one of the attributes {', '.join(sorted(_UNIFORM_ATTRIBUTES))}; "
            "expected a cell of which all do, or none to be drawn uniformly"
        )
    return _changed(cell, dict.fromkeys(names, symmetric_uniform(bound)))


def parameter_names(cell: nn.Module, inputs: int) -> list[str]:
    """Returns the paths of a cell's parameters, joined by '/', by abstract evaluation."""
    variables, _ = jax.eval_shape(lambda: _init_with_output(cell, inputs))
    return list(_named_leaves(variables.get("params", {})))


def output_features(cell: nn.Module, inputs: int) -> int:
    """Returns the features of a cell's output, by abstract evaluation."""
    _, (_, output) = jax.eval_shape(lambda: _init_with_output(cell, inputs))
    return output.shape[-1]


def _init_with_output(cell: nn.Module, inputs: int) -> Any:
    """Returns the variables of a cell, and the result of one step on zeros."""

    def step(cell, inputs):
        return cell(cell.initial_state(inputs.shape), inputs)

    cell = cell.copy(parent=None, name=None)
    if isinstance(cell, nn.RNNCellBase):
        cell = FlaxCell(cell)
    keys = {"params": jax.random.key(0)}
    output, variables = nn.init_with_output(step, cell)(keys, jnp.zeros((1, inputs)))
    return variables, output


def _named_leaves(params: Any) -> dict[str, Any]:
    leaves, _ = jax.tree_util.tree_flatten_with_path(params)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


_UNIFORM_ATTRIBUTES = {
    *("kernel_init", "recurrent_init", "recurrent_kernel_init"),
    *("bias_init", "recurrent_bias_init", "peephole_init"),
}


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
        return jnp.concatenate([init(gate_key, part, dtype) for gate_key in keys], axis=-1)

    return draw


def chrono(cell: Gated, max_steps: float) -> Gated:
    r"""Returns a cell that begins with memories of up to `max_steps` steps: `chrono(cell, 784)`.

    A gate that keeps the share :math:`\sigma(b)` of the state forgets over about :math:`1 + e^b`
    steps. With :math:`b = \log u`, u uniform on [1, max_steps - 1], these are spread evenly over
    the range. A gate that lets in gets the negative, all others zero.

    It goes on top of `init_like`: `chrono(init_like(GRUCell(64), "torch"), 784)`.

    Source: Tallec, Ollivier, Can recurrent neural networks warp time?, ICLR 2018.

    Args:
      cell: one of those whose gates are known here, by their very classes; the error lists them.
      max_steps: the longest dependency expected, at least 2.

    Raises:
      InputError: `max_steps` is below 2, or there are no such gates in this cell.
    """
    gates = _gates_of("chrono", cell)
    if not (isinstance(max_steps, Real) and float(max_steps) >= 2):
        raise InputError(f"max_steps: given {max_steps!r}, expected at least 2")
    return _with_biases(cell, chrono_bias(float(max_steps), *gates))


def forget_bias(cell: Gated, value: float = 1.0) -> Gated:
    """Returns a cell whose gate that keeps the state begins with a bias: `forget_bias(cell, 3.0)`.

    All other biases begin at zero. A cell that has but a gate that lets in gets the negative there.

    Source: Jozefowicz, Zaremba, Sutskever, An empirical exploration of recurrent network
    architectures, ICML 2015.

    Args:
      cell: as for `chrono`.
      value: of the bias.

    Raises:
      InputError: there is no such gate in this cell.
    """
    keeps, opens, count = _gates_of("forget_bias", cell)
    if keeps is not None:
        return _with_biases(cell, gate_bias(value, keeps, count))
    assert opens is not None
    return _with_biases(cell, gate_bias(-value, opens, count))


class _Gates(NamedTuple):
    """Places of gates in a bias: the one that keeps, the one that lets in, and how many there are.

    One that does both counts as that which it does as it opens.
    """

    keeps: int | None
    opens: int | None
    count: int


_MEMORIES: dict[type[nn.Module], Callable[..., _Gates]] = {
    # With `coupled` the cell leaves the part of the input gate out itself.
    LSTMCell: lambda cell: _Gates(1, 0, 4),
    GRUCell: lambda cell: _Gates(1, None, 3),
    MGUCell: lambda cell: _Gates(0, None, 2) if cell.f_keeps else _Gates(None, 0, 2),
    JANETCell: lambda cell: _Gates(0, None, 2),
    LayerNormLSTMCell: lambda cell: _Gates(1, 0, 4),
    MultiplicativeLSTMCell: lambda cell: _Gates(1, 0, 4),
    ConvLSTMCell: lambda cell: _Gates(1, 0, 4),
    MinGRUCell: lambda cell: _Gates(None, 0, 2),
    MinLSTMCell: lambda cell: _Gates(0, 1, 3),
}


def _gates_of(function: str, cell: Any) -> _Gates:
    if type(cell) not in _MEMORIES:
        raise _unknown(function, cell, _MEMORIES)
    return _MEMORIES[type(cell)](cell)


def _with_biases(cell: Gated, bias_init: Initializer) -> Gated:
    # A second bias is added to the first.
    more = {"recurrent_bias_init": _zeros} if isinstance(cell, GRUCell) else {}
    return _changed(cell, {"bias_init": bias_init, **more})


def _unknown(function: str, cell: Any, supported: Iterable[type]) -> InputError:
    cell_class = cell if isinstance(cell, type) else type(cell)
    description = f"the class {cell_class.__name__}" if cell_class is cell else cell_class.__name__
    names = ", ".join(f"{supported_class.__name__}(64)" for supported_class in supported)
    return InputError(
        f"{function}: given {description} of {cell_class.__module__}, "
        f"expected one of {names} of rnnjax.cells"
    )


def _changed(cell: Any, changes: dict[str, Any]) -> Any:
    # Without the place that a module under construction has given it: the copy finds its own.
    return cell.copy(parent=None, name=None, **changes)


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
        "bias_init": gate_bias() if isinstance(cell, LSTMCell) else _zeros,
    }


def _torch(cell: Plain, inputs: int | None) -> Inits:
    del inputs
    draw = symmetric_uniform(1 / math.sqrt(cell.features))

    def sum_of_draws(key, shape, dtype=jnp.float32, out_sharding=None):
        del out_sharding
        first_key, second_key = jax.random.split(key)
        return draw(first_key, shape, dtype) + draw(second_key, shape, dtype)

    inits = {"kernel_init": draw, "recurrent_init": draw}
    if isinstance(cell, GRUCell):
        return {**inits, "bias_init": draw, "recurrent_bias_init": draw}
    return {**inits, "bias_init": sum_of_draws}


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
            "init_like: given 'haiku' for an LSTMCell without inputs, and there the recurrent "
            "kernel begins by the number of inputs and features together; expected inputs=..."
        )
    units = _GATES[LSTMCell](cell) * cell.features
    joined = _cut_normal(lambda shape: inputs + (cell.projection or cell.features))

    def kernel(key, shape, dtype=jnp.float32, out_sharding=None):
        if shape[-1] == units and shape[0] != inputs:
            raise InputError(
                f"init_like: given inputs={inputs}, and the cell reads {shape[0]}; expected "
                f"inputs={shape[0]}"
            )
        return joined(key, shape, dtype, out_sharding)

    return {"kernel_init": kernel, "recurrent_init": joined, "bias_init": gate_bias()}


def _cut_normal(fan_in: Callable[[tuple[int, ...]], int]) -> Initializer:
    """Returns haiku's default: a normal by the fan-in, cut off at two standard deviations."""

    def draw(key, shape, dtype=jnp.float32, out_sharding=None):
        del out_sharding
        scale = 1 / math.sqrt(fan_in(shape))
        return nn.initializers.truncated_normal(scale)(key, shape, dtype)

    return draw


LIBRARIES: dict[str, Callable[..., Inits]] = {
    "keras": _keras,
    "torch": _torch,
    "flax": _flax,
    "haiku": _haiku,
}
"""The initializers of a cell by the library in whose manner it is to begin."""
