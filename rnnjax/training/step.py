"""One step of training and one of evaluation: pure, and compiled once for each shape of batch."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import optax

from rnnjax.data.batches import Batch, Batches
from rnnjax.tasks import Classification
from rnnjax.training.state import DROPOUT, TrainState


class Compiled:
    """A function of a state and a batch, compiled once for each shape of batch.

    Shapes that are known beforehand are compiled on a thread while other shapes are at work: a
    small network leaves most of the machine idle.
    """

    def __init__(self, function: Callable[[Any, Batch], Any], **jit: Any):
        """Takes the function and what `jax.jit` should be told."""
        self._function = jax.jit(function, **jit)
        self._executables: dict[tuple[int, ...], Future] = {}
        self._thread = ThreadPoolExecutor(max_workers=1)

    @property
    def compilations(self) -> int:
        """Number of shapes that it was compiled for."""
        return len(self._executables)

    def prepare(self, state: Any, batches: Batches) -> None:
        """Begins to compile for the shapes of some batches, and returns at once.

        Args:
          state: of the shapes and dtypes of those that will come.
          batches: of the lengths to which their rows are padded, the used ones.
        """
        state = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), state)
        for time in batches.used_boundaries:
            self._executable(state, _abstract_batch(batches.batch_size, time))

    def __call__(self, state: Any, batch: Batch) -> Any:
        """Calls the function; waits where the shape is still being compiled."""
        return self._executable(state, batch).result()(state, batch)

    def close(self) -> None:
        """Forgets what is still to be compiled, for which the end of the process would wait."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _executable(self, state: Any, batch: Batch) -> Future:
        shape = batch.tokens.shape
        if shape not in self._executables:
            self._executables[shape] = self._thread.submit(self._compile, state, batch)
        return self._executables[shape]

    def _compile(self, state: Any, batch: Batch) -> jax.stages.Compiled:
        return self._function.lower(state, batch).compile()


def _abstract_batch(batch_size: int, time: int) -> Batch:
    rows = (batch_size,)
    array: Any = jax.ShapeDtypeStruct
    return Batch(
        tokens=array((batch_size, time), jnp.int32),
        mask=array((batch_size, time), jnp.bool_),
        labels=array(rows, jnp.int32),
        weights=array(rows, jnp.float32),
    )


def make_train_step(
    task: Classification, optimizer: optax.GradientTransformation, seed: int
) -> Compiled:
    """Returns `step(state, batch) -> state`; it takes the memory of the state that it is given."""

    def train_step(state: TrainState, batch: Batch) -> TrainState:
        # Folded in, not split off in a chain: a resumed run draws what it would have drawn.
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), DROPOUT), state.step)
        live = task.live(state.params)
        (_, sums), gradients = jax.value_and_grad(task.loss, has_aux=True)(live, batch, key)
        updates, opt_state = optimizer.update(gradients, state.opt_state, live)
        return state.replace(
            step=state.step + 1,
            params=task.with_live(state.params, optax.apply_updates(live, updates)),
            opt_state=opt_state,
            sums=jax.tree.map(jnp.add, state.sums, sums),
        )

    return Compiled(train_step, donate_argnums=0)


def make_evaluate_step(task: Classification) -> Compiled:
    """Returns `step(params, batch) -> log_probabilities`."""
    return Compiled(task.log_probabilities)
