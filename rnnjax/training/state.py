"""What a training is at one moment: arrays alone, so that a checkpoint is all of it."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from rnnjax.config import Config
from rnnjax.data.pretrained_embeddings import WordVectors
from rnnjax.tasks import Task

INIT, DROPOUT = 0, 1
"""The streams of random numbers that a seed begets, beside those of the data."""


class BestParams(flax.struct.PyTreeNode):
    """The best parameters so far: those of the lowest validation loss.

    Attributes:
      params: the parameters, averaged where that is asked.
      loss: their validation loss; infinity before the first evaluation.
      step: the training step after which they were evaluated.
      waited: evaluations without a lower one since then.
    """

    params: Any
    loss: Float[Array, ""]
    step: Int[Array, ""]
    waited: Int[Array, ""]


def is_found(loss: Float[Array, ""]) -> bool:
    """Returns whether there has been an evaluation with that loss; infinite means none yet."""
    return bool(jnp.isfinite(loss))


class TrainState(flax.struct.PyTreeNode):
    """The state of a training; of replicates, with an axis of them before all others.

    Attributes:
      step: steps done.
      params: parameters.
      opt_state: of the optimizer.
      average: of the parameters over the steps; None without averaging.
      sums: metrics summed since they were last written.
      best: kept for early stopping; None without it.
      carry: what the next batch is given of the last one; None in tasks without.
    """

    step: Int[Array, ""]
    params: Any
    opt_state: Any
    average: Any | None
    sums: dict[str, Float[Array, ""]]
    best: BestParams | None
    carry: Any | None = None

    @property
    def done(self) -> int:
        """Steps done, by every replicate as many."""
        return int(np.max(self.step))

    @property
    def judged(self) -> Any:
        """The parameters that are evaluated: the average, where there is one."""
        return self.params if self.average is None else self.average


class InitialState(NamedTuple):
    """The state before the first step, which has been traced and not been made.

    Attributes:
      shapes: the state with a shape and a dtype for each array: what needs no more, a compilation
        say, can begin.
      make: makes it.
    """

    shapes: TrainState
    make: Callable[[], TrainState]


def init_state(
    task: Task,
    optimizer: optax.GradientTransformation,
    seeds: Sequence[int],
    config: Config,
    vectors: Sequence[WordVectors] = (),
) -> InitialState:
    """Returns the state before the first step, to be made.

    Args:
      task: what is trained.
      optimizer: how.
      seeds: of the replicates, from which the parameters follow.
      config: of the training, which says how many rows a batch has, and whether the state has an
        average of the parameters and the best so far.
      vectors: for the embedding of each replicate to begin with; none for random ones.
    """

    def copy(params):
        return jax.tree.map(jnp.copy, params)

    def init(key, *table):
        params = task.init(key)
        if table:
            params = task.with_vectors(params, *table)
        best = None
        if config.early_stopping.patience:
            never = jnp.zeros((), jnp.int32)
            best = BestParams(copy(params), jnp.float32(jnp.inf), step=never, waited=never)
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            params=params,
            opt_state=optimizer.init(task.live(params)),
            average=copy(params) if config.averaging.decay else None,
            sums={name: jnp.zeros(()) for name in ("loss", "accuracy", "weight")},
            best=best,
            carry=task.begin(config.batch_size),
        )

    keys = [jax.random.fold_in(jax.random.key(seed), INIT) for seed in seeds]
    tables = (
        [[each.table for each in vectors], [each.has_vector for each in vectors]] if vectors else []
    )
    if len(keys) == 1:
        traced = jax.jit(init).trace(*(given := (keys[0], *(each for (each,) in tables))))
    else:
        given = jnp.stack(keys), *map(np.stack, tables)
        traced = jax.jit(jax.vmap(init)).trace(*given)
    return InitialState(traced.out_info, lambda: traced.lower().compile()(*given))
