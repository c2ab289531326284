"""Finds where NaN or infinity comes from, once a training has left the finite numbers.

The batches since the last good state are run once more at its parameters. Where all losses and
gradients are finite there, the training has diverged. Otherwise the network is at fault, or what it
reads: the part that makes the first number that is not finite is named, and whether padding, some
rows or all of them bring it.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from rnnjax.tasks import Task
from rnnjax.training.finite import LOWER, NonFiniteError, non_finite_paths
from rnnjax.training.replicates import Replicate
from rnnjax.training.state import DROPOUT, TrainState

_MOST_BATCHES = 200
_MOST_ROWS = 64
_MOST_NAMES = 3


class _Replay(NamedTuple):
    """What a training step reads."""

    live: Any
    batch: Any
    carry: Any
    key: jax.Array


def explained(
    error: NonFiniteError, task: Task, members: Sequence[Replicate], state: TrainState
) -> NonFiniteError:
    """Returns the error, with its source in the message where that is not the learning rate.

    Args:
      error: as the training loop raised it.
      task: what was trained.
      members: what was trained, several side by side.
      state: a finite state from before the error, or the first one.
    """
    for member in members:
        source = _source(task, member, state, error.step)
        if source and state.done:
            cause = f"not finite {source}. If the training has moved them too far: {LOWER}"
            return NonFiniteError(error.message, error.step, cause)
        if source:
            cause = f"no learning rate helps. Not finite {source}"
            return NonFiniteError(error.message, error.step, cause)
    return error


def _source(task: Task, member: Replicate, state: TrainState, last: int) -> str:
    """Returns a sentence on the source; '' if the parameters of the state are finite on all."""
    params, carry = member.own(state.params), member.own(state.carry)
    where = f"at the parameters of step {state.done}" if state.done else "at the first parameters"
    paths = non_finite_paths(params)
    if paths:
        return f"{where} already: {_names(paths)} not finite; see how it is initialized"
    live = task.live(params)
    gradients = jax.jit(_gradients(task))
    for step in range(state.done, min(last, state.done + _MOST_BATCHES)):
        batch = member.dataset.train.batch_at(member.config.seed, step)
        key = jax.random.fold_in(jax.random.key(member.config.seed), DROPOUT)
        replay = _Replay(live, batch, carry, jax.random.fold_in(key, step))
        if not _is_finite(gradients(*replay)):
            part = _part(task, replay)
            cause = _cause(gradients, replay)
            return f"{where} already, on the batch of step {step + 1}: {part}. {cause}"
    return ""


def _gradients(task: Task) -> Callable[..., Any]:
    def loss(*read: Any) -> jax.Array:
        return task.loss(*read)[0]

    return jax.value_and_grad(loss)


def _is_finite(tree: Any) -> bool:
    return not non_finite_paths(tree)


def _part(task: Task, replay: _Replay) -> str:
    """Returns a sentence that names the module, or the parameters, where it begins."""
    modules: list[tuple[str, bool]] = []

    def observe(next_function, args, kwargs, context):
        outputs = next_function(*args, **kwargs)
        leaves = [each for each in jax.tree.leaves(outputs) if isinstance(each, jax.Array)]
        # Inside a scan, values are not known while the module is traced.
        if leaves and not any(isinstance(each, Tracer) for each in leaves):
            modules.append(("/".join(context.module.path), _is_finite(leaves)))
        return outputs

    with nn.intercept_methods(observe):
        task.loss(*replay)
    wrong = [path for path, is_finite in modules if not is_finite]
    if wrong:
        return f"the first output that is not finite is that of {wrong[0] or 'the whole network'}"
    paths = non_finite_paths(jax.jit(_gradients(task))(*replay)[1])
    if not paths:
        return "the loss is not finite, and the outputs of all modules are"
    # A derivative that is not finite spoils those of everything before it in the network: of the
    # modules with a gradient that is not finite, the source is the last one that was called.
    order = {path: place for place, (path, _) in enumerate(modules)}

    def called(path: str) -> int:
        return max((place for each, place in order.items() if _is_inside(path, each)), default=-1)

    latest = max(map(called, paths))
    nearest = [path for path in paths if called(path) == latest]
    return f"the outputs are finite, and the gradients of {_names(nearest)} are not"


def _is_inside(path: str, module: str) -> bool:
    return bool(module) and path.startswith(f"{module}/")


def _cause(gradients: Callable[..., Any], replay: _Replay) -> str:
    """Returns a sentence on what brings it: the data, the padding, some rows or the network."""
    batch = replay.batch
    for name, values in batch._asdict().items():
        if np.issubdtype(values.dtype, np.floating) and not np.isfinite(values).all():
            place = ", ".join(map(str, np.argwhere(~np.isfinite(values))[0]))
            return f"The data brings it: {name}[{place}] of the batch is not finite"
    rows = [row for row in range(len(batch.weights)) if np.any(batch.weights[row])][:_MOST_ROWS]
    wrong = [row for row in rows if not _is_finite(gradients(*_row(replay, row)))]
    if not wrong:
        return "Each row by itself is finite: the batch as a whole brings it"
    row = wrong[0]
    cut = _row(replay, row, padded=False)
    steps = min(values.shape[1] for values in cut.batch if values.ndim > 1)
    padding = max(values.shape[1] for values in batch if values.ndim > 1) - steps
    mask = getattr(batch, "mask", None)
    if mask is not None and not mask[row].any():
        return f"Padding brings it: row {row} has no real step at all. {_ADVICE}"
    if padding and _is_finite(gradients(*cut)):
        return (
            f"Padding brings it: row {row} alone is finite when it is cut to its {steps} real "
            f"steps, and not with {padding} padded ones after them. {_ADVICE}"
        )
    if len(wrong) < len(rows):
        return (
            f"The data brings it, not the padding: {len(wrong)} of {len(rows)} rows are not finite "
            f"by themselves, row {row} first, of {steps} steps"
        )
    return f"The network brings it, on every row, with padding or without. {_ADVICE}"


_ADVICE = (
    "Look for a derivative of 0/0, of a root or a norm at zero, of a logarithm of zero: replace "
    "the value before the operation, not its result; rnnjax.testing.check_cell shows where"
)


def _row(replay: _Replay, row: int, padded: bool = True) -> _Replay:
    """Returns what is read of one row of a batch, with its padding or without."""
    batch = replay.batch
    size = len(batch.weights)

    def one(values: Any) -> Any:
        return values[row : row + 1] if np.shape(values)[:1] == (size,) else values

    fields = dict(_fields(batch, row, padded))
    carry = jax.tree.map(one, replay.carry)
    return replay._replace(batch=type(batch)(**fields), carry=carry)


def _fields(batch: Any, row: int, padded: bool) -> Iterator[tuple[str, Any]]:
    mask = getattr(batch, "mask", batch.weights > 0)
    for name, values in batch._asdict().items():
        values = values[row : row + 1]
        real = batch.source_mask[row] if name.startswith("source") else mask[row]
        if not padded and values.shape[1:2] == real.shape and real.any():
            values = values[:, np.flatnonzero(real)]
        yield name, jnp.asarray(values)


def _names(paths: Sequence[str]) -> str:
    shown = ", ".join(paths[:_MOST_NAMES])
    return shown if len(paths) <= _MOST_NAMES else f"{shown} and {len(paths) - _MOST_NAMES} more"
