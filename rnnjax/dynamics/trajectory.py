"""Trajectories: a recurrent layer along sequences, in the order in which it reads them."""

import dataclasses
import functools
import itertools
import re
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.core.tracers import current_trace
from jaxtyping import Array, Bool, Float

from rnnjax.cells import AbstractCell, Dropped, RecurrentDropout, State
from rnnjax.cells.base import INTERNALS, state_parts
from rnnjax.cells.wrappers import Wrapper
from rnnjax.errors import InputError
from rnnjax.kernels.masking import where_mask, zero_masked
from rnnjax.layers import RNN
from rnnjax.layers.step_function import StepFunction
from rnnjax.layers.validation import default_state
from rnnjax.tasks.inspection import layer_name, layer_number


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["params", "inputs", "mask", "initial_state", "resets"],
    meta_fields=["name", "reverse", "cell"],
)
@dataclasses.dataclass(frozen=True)
class Trajectory:
    """A recurrent layer in one direction, along sequences.

    The axis of time has the order of reading: that of a layer which reads backward is reversed.

    Attributes:
      name: of the layer, and of the direction if it has two: 'layer 1, read backward'. In a network
        of several parts that of the part is before it: 'encoder: layer 1'.
      reverse: whether the axis of time is reversed.
      cell: unbound, without recurrent dropout, which an evaluation has not.
      params: of the cell.
      inputs: `[batch, time, *features]`, zeros where masked.
      mask: `[batch, time]`, True where the layer takes a step.
      initial_state: of the cell, a row for each sequence.
      resets: `[batch, time]`, True where the state is reset before the step; None for nowhere.
    """

    name: str
    reverse: bool
    cell: nn.Module
    params: Any
    inputs: Float[Array, "batch time *features"]
    mask: Bool[Array, "batch time"]
    initial_state: State
    resets: Bool[Array, "batch time"] | None = None

    @property
    def size(self) -> int:
        """Number of real numbers in the state of a row; a complex one is two."""
        shapes = jax.eval_shape(lambda: self.initial_state)
        return sum(
            leaf.size // leaf.shape[0] * (1 + jnp.issubdtype(leaf.dtype, jnp.complexfloating))
            for leaf in jax.tree.leaves(shapes)
        )

    def internals(self) -> tuple[State, dict[str, np.ndarray]]:
        """Returns the states after each step, and the gates by name, `[batch, time, ...]`."""
        return jax.device_get(_internals(self))

    def replace(self, **changes: Any) -> "Trajectory":
        """Returns a copy with other fields."""
        return dataclasses.replace(self, **changes)


class System:
    """The step of a trajectory as a function of vectors, for use while `jax.jit` traces it.

    Attributes:
      initial: `[batch, size]`, the state before the first step.
      xs: inputs, mask and resets of the steps, time first, for `jax.lax.scan`.
    """

    def __init__(self, trajectory: Trajectory):
        cell, params = trajectory.cell, trajectory.params
        projected = trajectory.inputs
        if isinstance(cell, AbstractCell):
            projected = cell.apply({"params": params}, projected, method="project")
        self._function = StepFunction(cell, params, trajectory.initial_state, projected)
        steps, self._shared = self._function.steps(projected)
        self.initial = self._function.layout.flatten(trajectory.initial_state)
        self._reset_vectors = None
        if trajectory.resets is not None:
            start = initial_state(cell, params, trajectory.inputs)
            self._reset_vectors = self._function.layout.flatten(start)
        arrays = (steps, trajectory.mask, trajectory.resets)
        self.xs = jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), arrays)

    def require_forward_mode(self) -> None:
        """Raises InputError if a step has no derivative in forward mode."""
        self._function.require_forward_mode()

    def step(self, vectors: Float[Array, "batch size"], steps: Any) -> Float[Array, "batch size"]:
        """Returns the next state of every row, masked or not."""
        return self._function.advance((self._function.params, self._shared), vectors, steps)

    def previous(self, vectors: jax.Array, resets: jax.Array | None) -> jax.Array:
        """Returns the state that a step reads: that before it, or the initial one at a reset."""
        if resets is None:
            return vectors
        assert self._reset_vectors is not None
        return where_mask(resets, self._reset_vectors, vectors)

    def states(self) -> tuple[Float[Array, "time batch size"], Float[Array, "time batch size"]]:
        """Returns the state that each step reads, and the state after it."""

        def body(vectors, x):
            steps, mask, resets = x
            vectors = self.previous(vectors, resets)
            new = where_mask(mask, self.step(vectors, steps), vectors)
            return new, (vectors, new)

        return jax.lax.scan(body, self.initial, self.xs)[1]


def initial_state(cell: nn.Module, params: Any, inputs: jax.Array) -> State:
    """Returns the initial state of an unbound cell for the rows of inputs."""
    if not isinstance(cell, AbstractCell):
        return default_state(cell, inputs)
    shape = inputs.shape[:1] + inputs.shape[2:]
    return cell.apply({"params": params}, shape, method="initial_state")


@jax.jit
def state_vectors(trajectory: Trajectory) -> Float[Array, "batch time size"]:
    """Returns the states after each step as vectors of real numbers, part after part."""
    return jnp.swapaxes(System(trajectory).states()[1], 0, 1)


@jax.jit
def _internals(trajectory: Trajectory) -> tuple[State, dict[str, jax.Array]]:
    variables = {"params": {"cell": trajectory.params}}
    arrays = trajectory.inputs, trajectory.mask, trajectory.initial_state, trajectory.resets
    _, recorded = RNN(trajectory.cell).apply(variables, *arrays, mutable=INTERNALS)
    recorded = recorded[INTERNALS]
    gates = {
        jax.tree_util.keystr(path[-1:], simple=True): values
        for path, values in jax.tree_util.tree_leaves_with_path(recorded.get("cell", {}))
    }
    return recorded["state"], gates


def trace_layers(call: Callable[..., Any], *arrays: Any) -> list[Trajectory]:
    """Returns the trajectory of each recurrent layer and direction that a function runs.

    They are sorted by the part of the network, the number of the layer, and the direction, forward
    first.

    Args:
      call: applies a module with `rnnjax.layers.RNN` layers to arrays, in an evaluation. Layers
        inside of a loop over time (a decoder that attends) are left out.
      *arrays: its arguments, pytrees.

    Raises:
      InputError: it runs no recurrent layer, or a part of a state is an integer.
    """
    static: dict[tuple[str, ...], tuple[nn.Module, bool]] = {}

    def traced(*arrays):
        recorded: dict[tuple[str, ...], Any] = {}
        level = current_trace()

        def record(next_call, args, kwargs, context):
            module = context.module
            is_outer = level == current_trace()
            if isinstance(module, RNN) and context.method_name == "__call__" and is_outer:
                params: Any = module.cell.variables.get("params", {})
                cell = module.cell.copy(parent=None, name=None)
                static[module.path] = (cell, module.reverse)
                recorded[module.path] = (params, *_arguments(cell, params, *args, **kwargs))
            return next_call(*args, **kwargs)

        with nn.intercept_methods(record):
            call(*arrays)
        return recorded

    recorded = jax.jit(traced)(*arrays)
    if not recorded:
        raise InputError(
            "the network has no recurrent layer that is run over whole sequences, whose dynamics "
            "could be analyzed; expected one with rnnjax.layers.RNN"
        )
    parts = {path: _part(path) for path in recorded}

    def position(path: tuple[str, ...]) -> tuple[str, int, bool]:
        return parts[path], layer_number("/".join(path)), "backward" in path

    return [
        _trajectory(
            f"{parts[path]}: {layer_name('/'.join(path))}"
            if len({*parts.values()}) > 1
            else layer_name("/".join(path)),
            *static[path],
            *recorded[path],
        )
        for path in sorted(recorded, key=position)
    ]


def trace_module(
    module: nn.Module,
    variables: Any,
    inputs: Float[Array, "batch time *features"],
    mask: Bool[Array, "batch time"] | None = None,
) -> list[Trajectory]:
    """Returns the trajectory of each recurrent layer and direction of a layer or a stack.

    Args:
      module: `RNN`, `Bidirectional`, `Stack` or any module of the same call.
      variables: of the module.
      inputs: anything where masked.
      mask: True where a step counts; None if all do.

    Raises:
      InputError: as `trace_layers` raises it.
    """
    if mask is None:
        mask = jnp.ones(inputs.shape[:2], bool)
    return trace_layers(module.apply, variables, inputs, mask)


def _arguments(cell, params, inputs, mask=None, state=None, resets=None):
    """Returns the arrays of a call of a layer."""
    mask = jnp.ones(inputs.shape[:2], bool) if mask is None else mask
    state = initial_state(cell, params, inputs) if state is None else state
    return zero_masked(inputs, mask), mask, state, resets


def _part(path: tuple[str, ...]) -> str:
    """Returns the name of the part of a network in which a layer is, '' for the whole of it."""
    names = itertools.takewhile(
        lambda name: not re.fullmatch(r"layers_\d+|forward|backward", name), path
    )
    return " ".join(names)


def _trajectory(name, cell, reverse, params, inputs, mask, state, resets) -> Trajectory:
    cell, params = _without_dropout(cell, params)
    if isinstance(state, Dropped):
        state = state.state
    for part, leaf in state_parts(state).items():
        if not jnp.issubdtype(leaf.dtype, jnp.inexact):
            raise InputError(
                f"the part {part!r} of the state of {type(cell).__name__} is an integer "
                f"({leaf.dtype}), which has no derivative; expected floating numbers"
            )
    if reverse:
        if resets is not None:
            resets = jnp.pad(resets[:, 1:], ((0, 0), (0, 1)))
            resets = resets[:, ::-1]
        inputs, mask = inputs[:, ::-1], mask[:, ::-1]
    return Trajectory(name, reverse, cell, params, inputs, mask, state, resets)


def _without_dropout(cell: nn.Module, params: Any) -> tuple[nn.Module, Any]:
    """Returns a cell and its parameters without `RecurrentDropout`, as it is in an evaluation."""
    if isinstance(cell, RecurrentDropout):
        return _without_dropout(cell.cell, params.get("cell", {}))
    if isinstance(cell, Wrapper):
        inner, inner_params = _without_dropout(cell.cell, params.get("cell", {}))
        return cell.copy(cell=inner, parent=None, name=None), {**params, "cell": inner_params}
    return cell, params
