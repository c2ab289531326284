"""The training loop."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax.config import Config
from rnnjax.interrupt import InterruptedRunError, InterruptRequest
from rnnjax.reporting import metrics as metrics_lib
from rnnjax.reporting.progress import Progress
from rnnjax.tasks import Task
from rnnjax.training.checkpoint import Checkpoints
from rnnjax.training.evaluation import answers
from rnnjax.training.finite import check_loss, check_state
from rnnjax.training.members import Member, stack_at
from rnnjax.training.optimizer import schedule
from rnnjax.training.state import Best, TrainState
from rnnjax.training.step import Compiled
from rnnjax.training.timing import Timing


def train(
    config: Config,
    task: Task,
    members: Sequence[Member],
    state: TrainState,
    train_step: Compiled,
    evaluate_step: Compiled,
    checkpoints: Checkpoints,
    timing: Timing,
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
      checkpoints: where the state is saved. What is not finite never is.
      timing: counts the steps and their seconds.

    Raises:
      NonFiniteError: a loss or an array of the state is no longer finite.
      InputError: a checkpoint cannot be saved.
      InterruptedRunError: SIGINT, SIGTERM or SIGHUP came; the state has been saved.
    """
    per_epoch = members[0].dataset.train.steps_per_epoch
    total = config.epochs * per_epoch
    rate = schedule(config, total)
    start = saved = state.done
    stopped = has_stopped(config, state)

    def at(step: int, split: str) -> dict[str, Any]:
        return {"step": step, "epoch": round(step / per_epoch, 4), "split": split}

    with InterruptRequest() as request, Progress("train", total, start, unit=task.unit) as progress:
        step = start
        while step < total and not stopped:
            stack = stack_at(members, step, min(_pause(config, step, per_epoch), total) - step)
            state = train_step(state, stack)
            step += int(stack.count)
            examples = task.count(stack.batches.weights)
            timing.add(int(stack.count), examples)
            logged = is_due(config, "train", step, per_epoch)
            if logged or step == total:
                state, means = _means(state, reset=logged)
                check_loss(means["loss"], "training", step)
                height = float(jnp.asarray(rate(step - 1)))
                for member in members:
                    own = jax.tree.map(float, member.own(means))
                    member.metrics.write({**at(step, "train"), **own, "learning_rate": height})
                progress.update(step, examples, **jax.tree.map(np.mean, means))
            else:
                progress.update(step, examples)
            evaluate = is_due(config, "validation", step, per_epoch) or step == total
            due = config.checkpoint.every and step % config.checkpoint.every == 0
            if evaluate:
                check_loss(state.sums["loss"], "training", step)
            for member in members:
                validation = member.dataset.validation
                if validation is None or not evaluate:
                    continue
                params = member.own(state.judged)
                found = answers(task, evaluate_step, params, validation, "validate")
                summary = task.summary(validation, found)
                check_loss(summary["loss"], "validation", step)
                member.metrics.write({**at(step, "validation"), **summary})
                state = _remember(state, summary["loss"])
                stopped = has_stopped(config, state)
            if due or request.signal:
                _save(state, members, checkpoints, timing)
                saved = step
            if request.signal:
                raise InterruptedRunError(request.signal, step, total)
    if saved != state.done:
        _save(state, members, checkpoints, timing)
    return state


def is_due(config: Config, split: str, step: int, per_epoch: int) -> bool:
    """Returns whether a step writes metrics of a split however long the training is.

    The last step of a training writes them in any case.
    """
    every = config.log_every if split == "train" else config.evaluate_every or per_epoch
    return step % every == 0


def metrics_digests(member: Member, step: int) -> dict[str, str]:
    """Returns digests of a member's metrics up to a step, without test scores.

    `all` is of every line, `due` of those that a longer training writes as well.
    """

    def is_logged(line: dict[str, Any]) -> bool:
        return line["split"] != "test"

    def is_logged_when_due(line: dict[str, Any]) -> bool:
        per_epoch = member.dataset.train.steps_per_epoch
        return is_logged(line) and is_due(member.config, line["split"], line["step"], per_epoch)

    selections = {"all": is_logged, "due": is_logged_when_due}
    path = member.folder.metrics
    return {name: metrics_lib.digest(path, step, kept) for name, kept in selections.items()}


def _save(
    state: TrainState, members: Sequence[Member], checkpoints: Checkpoints, timing: Timing
) -> None:
    """Saves a state that is finite, with the time that it took."""
    check_state(state)
    timing.save(state.done, checkpoints.steps)
    digests = [metrics_digests(member, state.done) for member in members]
    checkpoints.save(state.done, state, digests)


def _pause(config: Config, step: int, per_epoch: int) -> int:
    """Returns the first step after a step at which a call must have ended: something is due."""
    intervals = config.log_every, config.evaluate_every or per_epoch, config.checkpoint.every
    return min(step - step % each + each for each in intervals if each)


def has_stopped(config: Config, state: TrainState) -> bool:
    """Returns whether early stopping has ended the training."""
    return state.best is not None and int(state.best.waited) >= config.early_stopping.patience


def _means(state: TrainState, reset: bool) -> tuple[TrainState, dict[str, Any]]:
    """Returns the metrics since the last reset, and the state, with their sums begun anew.

    The end of a training that falls between two lines of the log resets nothing: a training that
    is made longer goes on as if it had been asked for at once.
    """
    sums = jax.device_get(state.sums)
    weight = sums.pop("weight")
    means = {name: value / weight for name, value in sums.items()}
    if not reset:
        return state, means
    return state.replace(sums=jax.tree.map(np.zeros_like, {**sums, "weight": weight})), means


def _remember(state: TrainState, loss: float) -> TrainState:
    """Returns the state after an evaluation: the best parameters are kept, or one more waited."""
    best = state.best
    if best is None:
        return state
    if loss < float(best.loss):
        params = jax.tree.map(jnp.copy, state.judged)
        best = Best(params, jnp.float32(loss), jnp.int32(state.done), jnp.zeros((), jnp.int32))
        return state.replace(best=best)
    return state.replace(best=best.replace(waited=best.waited + 1))
