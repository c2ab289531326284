"""One step of training and one of evaluation: pure, and compiled once for each shape of batch."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from rnnjax.data.batches import Batch
from rnnjax.tasks import Classification
from rnnjax.training.state import DROPOUT, TrainState


class Compiled:
    """A jitted function that counts how often it was compiled.

    Attributes:
      compilations: number of different shapes that it was traced for.
    """

    def __init__(self, function: Callable, **jit: Any):
        """Takes the function and what `jax.jit` should be told."""
        self.compilations = 0

        def counted(*args):
            self.compilations += 1
            return function(*args)

        self._function = jax.jit(counted, **jit)

    def __call__(self, *args: Any) -> Any:
        """Calls the function."""
        return self._function(*args)


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
