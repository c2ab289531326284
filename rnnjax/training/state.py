"""The state of training: arrays alone, so that a checkpoint holds all of it."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from rnnjax.data.pretrained_embeddings import WordVectors
from rnnjax.tasks import Task
from rnnjax.training.trainable_rows import trim_rows

INIT, DROPOUT = 0, 1
"""The random streams of a seed for parameters and dropout; the data has streams of its own."""


class BestParams(flax.struct.PyTreeNode):
    """The parameters of the lowest validation loss, for early stopping.

    Attributes:
      params: the parameters, averaged if averaging is on.
      loss: their validation loss; infinity before the first evaluation.
      step: the training step after which they were evaluated.
      waited: number of evaluations since then, none of which had a lower loss.
    """

    params: Any
    loss: Float[Array, ""]
    step: Int[Array, ""]
    waited: Int[Array, ""]


def is_evaluated(best_loss: Float[Array, ""]) -> bool:
    """Returns whether a loss of `BestParams` is that of an evaluation: infinity means none yet."""
    return bool(jnp.isfinite(best_loss))


class TrainState(flax.struct.PyTreeNode):
    """The state of training; of several replicates, arrays with a leading replicate axis.

    Attributes:
      step: number of training steps taken.
      params: parameters.
      opt_state: of the optimizer.
      average: moving average of the parameters; None without averaging.
      sums: metrics summed since they were last logged.
      best: None without early stopping.
      carry: state of the network passed from batch to batch; None in tasks without one.
      plateau: of the reduction of the learning rate by validations; None for other schedules.
    """

    step: Int[Array, ""]
    params: Any
    opt_state: Any
    average: Any | None
    sums: dict[str, Float[Array, ""]]
    best: BestParams | None
    carry: Any | None = None
    plateau: Any | None = None

    @property
    def num_steps(self) -> int:
        """Number of training steps taken, the same for every replicate."""
        return int(np.max(np.asarray(self.step)))

    @property
    def eval_params(self) -> Any:
        """The parameters to evaluate: the average, if averaging is on."""
        return self.params if self.average is None else self.average


class InitialState(NamedTuple):
    """The traced but not yet computed state before the first step.

    Attributes:
      shapes: the state with a shape and dtype for each array, to compile with.
      create: computes the state.
    """

    shapes: TrainState
    create: Callable[[], TrainState]


def init_state(
    task: Task,
    optimizer: optax.GradientTransformation,
    seeds: Sequence[int],
    *,
    batch_size: int,
    track_average: bool = False,
    track_best: bool = False,
    plateau: optax.GradientTransformationExtraArgs | None = None,
    vectors: Sequence[WordVectors] = (),
) -> InitialState:
    """Returns the initial state of training.

    Args:
      task: with the network.
      optimizer: whose state is part of it.
      seeds: of the replicates.
      batch_size: rows of a batch.
      track_average: add a moving average of the parameters.
      track_best: add the best parameters.
      plateau: as `make_plateau` returns it.
      vectors: pretrained embeddings of each replicate; none for random ones.
    """

    def copy(params):
        return jax.tree.map(jnp.copy, params)

    def init(key, *embedding):
        params = task.init(key)
        if embedding:
            params = task.set_word_vectors(params, *embedding)
        best = None
        if track_best:
            zero = jnp.zeros((), jnp.int32)
            best = BestParams(copy(params), jnp.float32(jnp.inf), step=zero, waited=zero)
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            params=params,
            opt_state=optimizer.init(trim_rows(params, task.trainable_rows)),
            average=copy(params) if track_average else None,
            sums={name: jnp.zeros(()) for name in ("loss", "accuracy", "weight")},
            best=best,
            carry=task.initial_carry(batch_size),
            plateau=plateau and plateau.init(params),
        )

    keys = [jax.random.fold_in(jax.random.key(seed), INIT) for seed in seeds]
    embeddings = [(entry.table, entry.has_vector) for entry in vectors] or [()] * len(keys)
    inputs = [(key, *embedding) for key, embedding in zip(keys, embeddings, strict=True)]
    if len(keys) == 1:
        (arguments,) = inputs
        traced = jax.jit(init).trace(*arguments)
    else:
        arguments = [jnp.stack(keys), *(np.stack(part) for part in zip(*embeddings, strict=True))]
        traced = jax.jit(jax.vmap(init)).trace(*arguments)
    return InitialState(traced.out_info, lambda: traced.lower().compile()(*arguments))


def restart_optimizer(
    task: Task, optimizer: optax.GradientTransformation, num_replicates: int, state: TrainState
) -> TrainState:
    """Returns the state with a new optimizer state, of its parameters.

    Args:
      task: with the network.
      optimizer: some keep the parameters that they began with.
      num_replicates: of the run.
      state: of several replicates, with a leading replicate axis.
    """

    def init(params: Any) -> Any:
        return optimizer.init(trim_rows(params, task.trainable_rows))

    init = jax.vmap(init) if num_replicates > 1 else init
    return state.replace(opt_state=jax.jit(init)(state.params))
