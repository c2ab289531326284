"""The training loop."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax.config import Config
from rnnjax.errors import InputError
from rnnjax.interrupt import InterruptedRunError, InterruptRequest
from rnnjax.reporting.progress import Progress
from rnnjax.tasks import Task
from rnnjax.training.checkpoint import Checkpoints
from rnnjax.training.evaluation import answers
from rnnjax.training.members import Member, stack_at
from rnnjax.training.optimizer import schedule
from rnnjax.training.state import Best, TrainState
from rnnjax.training.step import Compiled


def train(
    config: Config,
    task: Task,
    members: Sequence[Member],
    state: TrainState,
    train_step: Compiled,
    evaluate_step: Compiled,
    checkpoints: Checkpoints,
) -> TrainState:
    """Trains from a state to the end, writes how it goes, and saves.

    In the metrics of each member a line is written for every `log_every` steps and for every
    validation. Nothing in them is of the clock: the same training writes the same lines.

    Args:
      config: what is asked.
      task: what is trained.
      members: what is trained, several side by side.
      state: where to begin. Its memory is taken.
      train_step: as `make_train_step` returns it.
      evaluate_step: as `make_evaluate_step` returns it.
      checkpoints: where the state is saved.

    Raises:
      InputError: the loss is no longer finite, or a checkpoint cannot be saved.
      InterruptedRunError: SIGINT, SIGTERM or SIGHUP came; the state has been saved.
    """
    per_epoch = members[0].dataset.train.steps_per_epoch
    total = config.epochs * per_epoch
    rate = schedule(config, total)
    start = saved = state.done
    stopped = has_stopped(config, state)

    def at(step: int, split: str) -> dict[str, Any]:
        return {"step": step, "epoch": round(step / per_epoch, 4), "split": split}

    with InterruptRequest() as request, Progress("train", total, start) as progress:
        step = start
        while step < total and not stopped:
            stack = stack_at(members, step, min(_pause(config, step, per_epoch), total) - step)
            state = train_step(state, stack)
            step += int(stack.count)
            examples = int(stack.batches.weights.sum())
            if step % config.log_every == 0 or step == total:
                state, means = _means(state)
                _check_finite(means["loss"], step)
                height = float(jnp.asarray(rate(step - 1)))
                for member in members:
                    own = jax.tree.map(float, member.own(means))
                    member.metrics.write({**at(step, "train"), **own, "learning_rate": height})
                progress.update(step, examples, **jax.tree.map(np.mean, means))
            else:
                progress.update(step, examples)
            evaluate = step % (config.evaluate_every or per_epoch) == 0 or step == total
            due = config.checkpoint.every and step % config.checkpoint.every == 0
            if evaluate or due or request.signal:
                # Else states that are lost would push the good checkpoints out, or end as results.
                _check_finite(state.sums["loss"], step)
            for member in members:
                validation = member.dataset.validation
                if validation is None or not evaluate:
                    continue
                params = member.own(state.judged)
                found = answers(task, evaluate_step, params, validation, "validate")
                summary = task.summary(validation, found)
                member.metrics.write({**at(step, "validation"), **summary})
                state = _remember(state, summary["loss"])
                stopped = has_stopped(config, state)
            if due or request.signal:
                checkpoints.save(step, state)
                saved = step
            if request.signal:
                raise InterruptedRunError(request.signal, step, total)
    if saved != state.done:
        checkpoints.save(state.done, state)
    return state


def _pause(config: Config, step: int, per_epoch: int) -> int:
    """Returns the first step after a step at which a call must have ended: something is due."""
    intervals = config.log_every, config.evaluate_every or per_epoch, config.checkpoint.every
    return min(step - step % each + each for each in intervals if each)


def has_stopped(config: Config, state: TrainState) -> bool:
    """Returns whether early stopping has ended the training."""
    return state.best is not None and int(state.best.waited) >= config.early_stopping.patience


def _means(state: TrainState) -> tuple[TrainState, dict[str, Any]]:
    """Returns the metrics since the last call, and the state with their sums begun anew."""
    sums = jax.device_get(state.sums)
    weight = sums.pop("weight")
    means = {name: value / weight for name, value in sums.items()}
    return state.replace(sums=jax.tree.map(np.zeros_like, {**sums, "weight": weight})), means


def _remember(state: TrainState, loss: float) -> TrainState:
    """Returns the state after an evaluation: the best parameters are kept, or one more waited."""
    best = state.best
    if best is None:
        return state
    if loss < float(best.loss):
        params = jax.tree.map(jnp.copy, state.judged)
        return state.replace(best=Best(params, jnp.float32(loss), jnp.zeros((), jnp.int32)))
    return state.replace(best=best.replace(waited=best.waited + 1))


def _check_finite(loss: Any, step: int) -> None:
    wrong = np.ravel(loss)[~np.isfinite(np.ravel(loss))]
    if wrong.size:
        raise InputError(
            f"the training loss is {wrong[0]} at step {step}: the training has diverged. Lower "
            "config.learning_rate, or limit the gradients with config.optimizer.clip_norm (1.0, "
            "say), in a new folder"
        )
