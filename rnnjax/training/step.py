"""Steps of training and of evaluation: pure, and compiled once for each shape of batch."""

import functools
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from rnnjax.data.batches import BatchGroup
from rnnjax.reporting.progress import uncounted
from rnnjax.tasks import Task
from rnnjax.training.state import DROPOUT, TrainState

_COMPILER = ThreadPoolExecutor(max_workers=1)
"""One thread for all functions: what is asked for first is compiled first, by the whole machine."""


class Compiled:
    """A function of a state and what is read, compiled once for each shape of the latter.

    Shapes that are known beforehand are compiled on a thread while other shapes are at work: a
    small network leaves most of the machine idle.
    """

    def __init__(self, function: Callable[[Any, Any], Any], **jit: Any):
        """Takes the function and what `jax.jit` should be told."""
        self._function = jax.jit(function, **jit)
        self._executables: dict[tuple[tuple[int, ...], ...], Future] = {}

    @property
    def compilations(self) -> int:
        """Number of shapes that it was compiled for."""
        return len(self._executables)

    def prepare(self, state: Any, blanks: Iterable[Any]) -> None:
        """Begins to compile for some shapes, and returns at once.

        Args:
          state: of the shapes and dtypes of those that will come.
          blanks: arrays of the shapes and dtypes that will be read.
        """
        state = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), state)
        for blank in blanks:
            self._executable(state, blank)

    def __call__(self, state: Any, read: Any) -> Any:
        """Calls the function; waits where the shape is still being compiled."""
        executable = self._executable(state, read)
        with uncounted():
            compiled = executable.result()
        return compiled(state, read)

    def close(self) -> None:
        """Forgets what is still to be compiled, for which the end of the process would wait."""
        for executable in self._executables.values():
            executable.cancel()

    def _executable(self, state: Any, read: Any) -> Future:
        shapes = tuple(leaf.shape for leaf in jax.tree.leaves(read))
        if shapes not in self._executables:
            self._executables[shapes] = _COMPILER.submit(self._compile, state, read)
        return self._executables[shapes]

    def _compile(self, state: Any, read: Any) -> jax.stages.Compiled:
        return self._function.lower(state, read).compile()


def is_out_of_memory(error: Exception) -> bool:
    """Returns whether an error says that memory ran out, of the device or of the machine."""
    # XLA has a code for it on a GPU, and on a CPU none of its own.
    said = str(error)
    is_said = "RESOURCE_EXHAUSTED" in said or "Out of memory" in said
    return isinstance(error, MemoryError) or is_said


def make_train_step(
    task: Task,
    optimizer: optax.GradientTransformation,
    seeds: Sequence[int],
    decay: float = 0.0,
) -> Compiled:
    """Returns `step(state, stack) -> state`; it takes the memory of the state that it is given.

    It takes as many steps as the stack has batches. How a training is cut into calls changes
    nothing in what comes of it, not in a bit: all that a step reads is its batch and the state.

    Args:
      task: what is trained.
      optimizer: how.
      seeds: of the dropout, one for each replicate. Several train side by side: the arrays of
        state and batches then have an axis of replicates before all others.
      decay: of the average of the parameters, in a state that has one.
    """

    def train_step(state: TrainState, batch: Any, seed: Any) -> TrainState:
        # Folded in, not split off in a chain: a resumed run draws what it would have drawn.
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), DROPOUT), state.step)
        gradient = jax.grad(task.loss, has_aux=True)
        gradients, (sums, carry) = gradient(state.params, batch, state.carry, key)
        with jax.numpy_dtype_promotion("standard"):  # optax is written for it
            updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        step, params = state.step + 1, optax.apply_updates(state.params, updates)
        return state.replace(
            step=step,
            params=params,
            opt_state=opt_state,
            average=_averaged(state.average, params, step, decay),
            sums=jax.tree.map(jnp.add, state.sums, sums),
            carry=carry,
        )

    def train_steps(state: TrainState, stack: BatchGroup, seed: Any) -> TrainState:
        def one(index, live):
            return train_step(live, jax.tree.map(lambda each: each[index], stack.batches), seed)

        live = state.replace(**_parameters(task.live, state), best=None)
        if len(stack.batches.weights) == 1:  # a loop would make it slower by a third
            live = one(0, live)
        else:
            live = jax.lax.fori_loop(0, stack.count, one, live)
        return live.replace(**_parameters(task.with_live, state, live), best=state.best)

    def of_replicates(state: TrainState, stack: BatchGroup) -> TrainState:
        def of_one(state, batches, seed):
            return train_steps(state, stack._replace(batches=batches), seed)

        return jax.vmap(of_one)(state, stack.batches, np.asarray(seeds, np.uint32))

    if len(seeds) > 1:
        return Compiled(of_replicates, donate_argnums=0)
    return Compiled(functools.partial(train_steps, seed=seeds[0]), donate_argnums=0)


def _averaged(average: Any, params: Any, step: jax.Array, decay: float) -> Any:
    """Returns the average of the parameters after a step.

    It begins at the first parameters, and forgets them however short the training is: its decay is
    that of TensorFlow's `ExponentialMovingAverage(num_updates=step)`, which rises with the steps to
    the one that was asked for. Nothing is divided out afterwards, as a bias of zeros would be.
    """
    if average is None:
        return None
    share = jnp.maximum(1.0 - decay, 9.0 / (10.0 + step.astype(jnp.float32)))
    # In this form what does not change keeps every bit, which a sum of shares would round.
    return jax.tree.map(lambda old, new: old + share * (new - old), average, params)


def _parameters(function: Callable[..., Any], *states: TrainState) -> dict[str, Any]:
    """Returns what a function makes of the parameters of states, and of their averages."""
    names = ["params", *([] if states[0].average is None else ["average"])]
    return {name: function(*(getattr(state, name) for state in states)) for name in names}


def make_evaluate_step(task: Task) -> Compiled:
    """Returns `step((params, carry), batch) -> (answer, carry)`."""

    def evaluate_step(state: tuple[Any, Any], batch: Any) -> tuple[Any, Any]:
        params, carry = state
        return task.answer(params, batch, carry)

    return Compiled(evaluate_step)
