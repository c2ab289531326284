"""Training and evaluation steps: pure functions, compiled once for each shape of batch."""

import functools
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from rnnjax.allocator import retain_freed_memory
from rnnjax.data.batches import BatchGroup
from rnnjax.reporting.progress import uncounted
from rnnjax.tasks import Task
from rnnjax.training.global_arrays import place
from rnnjax.training.processes import num_processes
from rnnjax.training.sharding import REPLICATE, Partition
from rnnjax.training.state import DROPOUT, TrainState
from rnnjax.training.trainable_rows import restore_rows, trim_rows

_COMPILER = ThreadPoolExecutor(max_workers=1)
"""One thread for all functions: shapes are compiled in the order in which they are needed."""


class CompiledFunction:
    """A function of a state and a batch, compiled once for each shape of batch.

    Shapes that are known beforehand are compiled on a thread while other shapes run: a small
    network leaves most of the machine idle.
    """

    def __init__(
        self, function: Callable[[Any, Any], Any], partition: Partition | None, **jit_options: Any
    ):
        """Takes the function, its devices, None for one, and the options of `jax.jit`."""
        self._function = jax.jit(function, **jit_options)
        self._partition, self._shardings = partition, jit_options.get("in_shardings")
        self._executables: dict[tuple[tuple[int, ...], ...], Future] = {}

    @property
    def compilations(self) -> int:
        """Number of shapes that it was compiled for."""
        return len(self._executables)

    def prepare(self, state: Any, batches: Iterable[Any]) -> None:
        """Starts to compile for the shapes of batches, and returns at once.

        Args:
          state: arrays, or their shapes and dtypes.
          batches: one for each shape.
        """
        state = _shapes(state)
        for batch in batches:
            self._executable(state, batch)

    def __call__(self, state: Any, batch: Any) -> Any:
        """Calls the function, after waiting for its compilation."""
        compiled = self.compile(state, batch)
        if num_processes() > 1:
            state, batch = place((state, batch), self._shardings)
        result = compiled(state, batch)
        if self._partition and jax.default_backend() == "cpu":
            # Sums and gathers over the devices of a CPU wait in the threads of one pool. Those of a
            # second call can hold the threads that the first one needs to end.
            jax.block_until_ready(result)
        return result

    def compile(self, state: Any, batch: Any) -> jax.stages.Compiled:
        """Returns the function compiled for the shapes of a batch, after waiting for it.

        Args:
          state: as for `prepare`.
          batch: of the shapes.
        """
        executable = self._executable(state, batch)
        with uncounted():
            return executable.result()

    def trace(self, state: Any, batch: Any) -> Any:
        """Returns the function as a jaxpr, for the shapes of a batch."""
        return self._function.trace(state, batch).jaxpr

    def copy_to_devices(self, params: Any) -> Any:
        """Returns parameters of one network, copied to each device of the function."""
        if self._partition is None:
            return params
        copies = self._partition.sharding()
        if num_processes() > 1:
            return jax.jit(lambda tree: tree, out_shardings=copies)(params)
        return jax.device_put(params, copies)

    def close(self) -> None:
        """Cancels pending compilations, for which the process would wait at its end."""
        for executable in self._executables.values():
            executable.cancel()

    def _executable(self, state: Any, batch: Any) -> Future:
        shapes = tuple(leaf.shape for leaf in jax.tree.leaves(batch))
        if shapes not in self._executables:
            self._executables[shapes] = _COMPILER.submit(self._compile, state, batch)
        return self._executables[shapes]

    def _compile(self, state: Any, batch: Any) -> jax.stages.Compiled:
        if num_processes() > 1:  # which take no arrays of NumPy
            state, batch = _shapes((state, batch))
        return self._function.lower(state, batch).compile()


def _shapes(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), tree)


def make_train_step(
    task: Task,
    optimizer: optax.GradientTransformation,
    seeds: Sequence[int],
    decay: float = 0.0,
    partition: Partition | None = None,
    **jit_options: Any,
) -> CompiledFunction:
    """Returns `step(state, group) -> state`, which takes a step for each batch of a group.

    It donates the state's buffers. A step depends on its batch and the state alone, so that the
    result is the same, bit for bit, however steps are grouped into calls. The process reuses the
    memory that a step frees from now on (`rnnjax.allocator.retain_freed_memory`).

    Args:
      task: with the loss.
      optimizer: of the parameters.
      seeds: of the dropout, one for each replicate. Of several, the arrays of state and batches
        have a leading replicate axis.
      decay: of the moving average of the parameters, in a state that has one.
      partition: of the batch among devices; None for one device.
      **jit_options: of `jax.jit`, such as the shardings of the arguments.
    """
    retain_freed_memory()
    gradient = partition.gradient(task) if partition else jax.grad(task.loss, has_aux=True)

    def train_step(state: TrainState, batch: Any, seed: Any) -> TrainState:
        # Folded in, not split in a chain: a resumed run draws the same as an uninterrupted one.
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), DROPOUT), state.step)
        gradients, (sums, carry) = gradient(state.params, batch, state.carry, key)
        with jax.numpy_dtype_promotion("standard"):  # optax is written for it
            updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        if state.plateau is not None:
            scale = state.plateau.scale
            updates = jax.tree.map(lambda update: update * scale, updates)
        step, params = state.step + 1, optax.apply_updates(state.params, updates)
        return state.replace(
            step=step,
            params=params,
            opt_state=opt_state,
            average=_update_average(state.average, params, step, decay),
            sums=jax.tree.map(jnp.add, state.sums, sums),
            carry=carry,
        )

    def train_steps(state: TrainState, group: BatchGroup, seed: Any) -> TrainState:
        def indexed_step(index, state):
            batch = jax.tree.map(lambda values: values[index], group.batches)
            return train_step(state, batch, seed)

        full, best = state.replace(best=None), state.best
        # The state of the optimizer was made for the trimmed parameters.
        state = full.replace(
            params=trim_rows(full.params, task.trainable_rows),
            average=trim_rows(full.average, task.trainable_rows),
        )
        if len(group.batches.weights) == 1:  # a loop would make it slower by a third
            state = indexed_step(0, state)
        else:
            state = jax.lax.fori_loop(0, group.count, indexed_step, state)
        return state.replace(
            params=restore_rows(full.params, state.params),
            average=restore_rows(full.average, state.average),
            best=best,
        )

    def train_replicates(state: TrainState, group: BatchGroup, seed: Any) -> TrainState:
        def train_replicate(state, batches, seed):
            return train_steps(state, group._replace(batches=batches), seed)

        axis = REPLICATE if partition else None
        return jax.vmap(train_replicate, spmd_axis_name=axis)(state, group.batches, seed)

    if len(seeds) > 1:
        step = functools.partial(train_replicates, seed=np.asarray(seeds, np.uint32))
    else:
        step = functools.partial(train_steps, seed=seeds[0])
    return CompiledFunction(step, partition, donate_argnums=0, **jit_options)


def _update_average(average: Any, params: Any, step: jax.Array, decay: float) -> Any:
    """Returns the moving average of the parameters after a step.

    The decay warms up to that of the config, as in TensorFlow's
    `ExponentialMovingAverage(num_updates=step)`, so that the initial parameters are forgotten
    however short the training is. No bias correction is needed: the average starts at them, not at
    zeros.
    """
    if average is None:
        return None
    rate = jnp.maximum(1.0 - decay, 9.0 / (10.0 + step.astype(jnp.float32)))
    # In this form parameters that do not change keep every bit; a weighted sum would round them.
    return jax.tree.map(lambda old, new: old + rate * (new - old), average, params)


def make_evaluate_step(task: Task, partition: Partition | None = None) -> CompiledFunction:
    """Returns `step((params, carry), batch) -> (outputs, carry)`.

    Args:
      task: with the network.
      partition: of a batch among devices; None for one device.
    """

    def evaluate_step(state: tuple[Any, Any], batch: Any) -> tuple[Any, Any]:
        params, carry = state
        if partition:
            return partition.evaluate_batch(task, params, batch, carry)
        return task.evaluate_batch(params, batch, carry)

    if partition is None:
        return CompiledFunction(evaluate_step, None)
    copies = partition.sharding()
    options = {"in_shardings": (copies, copies), "out_shardings": copies}
    return CompiledFunction(evaluate_step, partition, **options)
