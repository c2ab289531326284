"""Diagnoses a training: the source of NaN or infinity, and a loss that stays on a plateau.

The batches since the last finite state are run again with its parameters. If all losses and
gradients are finite there, the training has diverged. Otherwise the network or its input is the
source: the error names the module of the first non-finite number, and whether padding, some rows or
all of them cause it.

A language model on a plateau predicts the frequencies of tokens and nothing of their order.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from rnnjax.tasks import Task
from rnnjax.training.finite import LOWER_LEARNING_RATE, NonFiniteError, non_finite_paths
from rnnjax.training.replicates import Replicate
from rnnjax.training.state import DROPOUT, TrainState

PLATEAU_STEPS = 500
"""Steps after which a network that uses its input has a lower loss than one without."""

_MAX_BATCHES = 200
_MAX_ROWS = 64
_MAX_NAMES = 3


class _Replay(NamedTuple):
    """The arguments of the loss in a training step."""

    params: Any
    batch: Any
    carry: Any
    key: jax.Array


def describe_plateau(loss: float, input_free_loss: float | None, step: int) -> str:
    """Returns a warning of a training loss that no use of the input has lowered; '' otherwise.

    Args:
      loss: mean training loss since the last log.
      input_free_loss: lowest one without the input; None if unknown.
      step: number of training steps.
    """
    if input_free_loss is None or loss < input_free_loss:
        return ""
    return (
        f"WARNING: plateau: after {step} steps the training loss is {loss:.4f}, and the "
        f"frequencies of the targets alone reach {input_free_loss:.4f}: the network does not use "
        "its input yet. Leave model.initialization='' and model.embedding.scale=0 (the initial "
        "values for the task), change learning_rate threefold, set optimizer.clip_norm=1.0, or "
        "begin with model.layers=1; `rnnjax lint --rules` explains stacked_plateau"
    )


def explain_non_finite(
    error: NonFiniteError, task: Task, replicates: Sequence[Replicate], state: TrainState
) -> NonFiniteError:
    """Returns the error with its source in the message, unless the training has diverged.

    Args:
      error: as the training loop raised it.
      task: of the run.
      replicates: of the run.
      state: a finite state from before the error, or the initial one.
    """
    for replicate in replicates:
        source = _source(task, replicate, state, error.step)
        if source and state.num_steps:
            cause = f"not finite {source}. If the training has moved them too far: "
            cause += LOWER_LEARNING_RATE
            return NonFiniteError(error.message, error.step, cause)
        if source:
            cause = f"no learning rate helps. Not finite {source}"
            return NonFiniteError(error.message, error.step, cause)
    return error


def _source(task: Task, replicate: Replicate, state: TrainState, last_step: int) -> str:
    """Returns a sentence on the source; '' if losses and gradients of all batches are finite."""
    params, carry = replicate.slice(state.params), replicate.slice(state.carry)
    start, seed = state.num_steps, replicate.config.seed
    where = f"at the parameters of step {start}" if start else "at the first parameters"
    paths = non_finite_paths(params)
    if paths:
        return f"{where} already: {_names(paths)} not finite; see how it is initialized"
    gradients = jax.jit(_gradients(task))
    for step in range(start, min(last_step, start + _MAX_BATCHES)):
        batch = replicate.dataset.train.batch_at(seed, step)
        key = jax.random.fold_in(jax.random.key(seed), DROPOUT)
        replay = _Replay(params, batch, carry, jax.random.fold_in(key, step))
        if not _is_finite(gradients(*replay)):
            part = _part(task, replay)
            cause = _cause(gradients, replay)
            return f"{where} already, on the batch of step {step + 1}: {part}. {cause}"
    return ""


def _gradients(task: Task) -> Callable[..., Any]:
    def loss(*arguments: Any) -> jax.Array:
        return task.loss(*arguments)[0]

    return jax.value_and_grad(loss)


def _is_finite(tree: Any) -> bool:
    return not non_finite_paths(tree)


def _part(task: Task, replay: _Replay) -> str:
    """Returns a sentence that names the first non-finite module, or gradients."""
    modules: list[tuple[str, bool]] = []

    def observe(next_function, args, kwargs, context):
        outputs = next_function(*args, **kwargs)
        leaves = [leaf for leaf in jax.tree.leaves(outputs) if isinstance(leaf, jax.Array)]
        # Inside a scan a module is traced, without values.
        if leaves and not any(isinstance(leaf, Tracer) for leaf in leaves):
            modules.append(("/".join(context.module.path), _is_finite(leaves)))
        return outputs

    with nn.intercept_methods(observe):
        task.loss(*replay)
    non_finite = [path for path, is_finite in modules if not is_finite]
    if non_finite:
        module = non_finite[0] or "the whole network"
        return f"the first output that is not finite is that of {module}"
    paths = non_finite_paths(jax.jit(_gradients(task))(*replay)[1])
    if not paths:
        return "the loss is not finite, and the outputs of all modules are"
    # A non-finite derivative spreads to the gradients of all earlier modules: of those with a
    # non-finite gradient, the source is the one that was called last.
    calls = {f"{path}/": index for index, (path, _) in enumerate(modules) if path}

    def last_call(path: str) -> int:
        return max((calls[prefix] for prefix in calls if path.startswith(prefix)), default=-1)

    latest = max(map(last_call, paths))
    source = [path for path in paths if last_call(path) == latest]
    return f"the outputs are finite, and the gradients of {_names(source)} are not"


def _cause(gradients: Callable[..., Any], replay: _Replay) -> str:
    """Returns a sentence on the cause: the data, the padding, some rows or the network."""
    batch = replay.batch
    for name, values in batch._asdict().items():
        if np.issubdtype(values.dtype, np.floating) and not np.isfinite(values).all():
            index = ", ".join(map(str, np.argwhere(~np.isfinite(values))[0]))
            return f"The data brings it: {name}[{index}] of the batch is not finite"
    rows = [row for row in range(len(batch.weights)) if np.any(batch.weights[row])][:_MAX_ROWS]
    non_finite = [row for row in rows if not _is_finite(gradients(*_row(replay, row)))]
    if not non_finite:
        return "Each row by itself is finite: the batch as a whole brings it"
    row = non_finite[0]
    unpadded = _row(replay, row, padded=False)
    steps = min(values.shape[1] for values in unpadded.batch if values.ndim > 1)
    padding = max(values.shape[1] for values in batch if values.ndim > 1) - steps
    mask = getattr(batch, "mask", None)
    if mask is not None and not mask[row].any():
        return f"Padding brings it: row {row} has no real step at all. {_ADVICE}"
    if padding and _is_finite(gradients(*unpadded)):
        return (
            f"Padding brings it: row {row} alone is finite when it is cut to its {steps} real "
            f"steps, and not with {padding} padded ones after them. {_ADVICE}"
        )
    if len(non_finite) < len(rows):
        return (
            f"The data brings it, not the padding: {len(non_finite)} of {len(rows)} rows are not "
            f"finite by themselves, row {row} first, of {steps} steps"
        )
    return f"The network brings it, on every row, with padding or without. {_ADVICE}"


_ADVICE = (
    "Look for a derivative of 0/0, of a root or a norm at zero, of a logarithm of zero: replace "
    "the value before the operation, not its result; rnnjax.testing.check_cell shows where"
)


def _row(replay: _Replay, row: int, padded: bool = True) -> _Replay:
    """Returns the arguments of the loss for one row of a batch, with its padding or without."""
    batch = replay.batch
    batch_size = len(batch.weights)

    def slice_row(values: Any) -> Any:
        return values[row : row + 1] if np.shape(values)[:1] == (batch_size,) else values

    fields = dict(_fields(batch, row, padded))
    carry = jax.tree.map(slice_row, replay.carry)
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
    names = ", ".join(paths[:_MAX_NAMES])
    return names if len(paths) <= _MAX_NAMES else f"{names} and {len(paths) - _MAX_NAMES} more"
