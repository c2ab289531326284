"""The training loop: steps, logging, validation, early stopping and checkpoints."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
import optax

from rnnjax.config import Config
from rnnjax.interrupt import InterruptedRunError, InterruptRequest
from rnnjax.reporting import metrics_log
from rnnjax.reporting.progress import Progress, write_message
from rnnjax.tasks import Task
from rnnjax.training.checkpoint import Checkpoints
from rnnjax.training.diagnosis import PLATEAU_STEPS, describe_plateau
from rnnjax.training.evaluation import predict_split
from rnnjax.training.finite import check_loss, check_state
from rnnjax.training.processes import broadcast, gather, is_first, num_processes
from rnnjax.training.replicates import Replicate, batch_group_at
from rnnjax.training.schedule import make_plateau, update_plateau
from rnnjax.training.state import BestParams, TrainState
from rnnjax.training.step import CompiledFunction
from rnnjax.training.timing import TrainingTimer
from rnnjax.training.watching import Watch


class Intervals(NamedTuple):
    """Number of steps between events of the training loop.

    Attributes:
      log: between two lines of training metrics.
      validation: between two validations.
      checkpoint: between two checkpoints; 0 for none but the last.
    """

    log: int
    validation: int
    checkpoint: int

    @classmethod
    def of(cls, config: Config, steps_per_epoch: int) -> Self:
        """Returns the intervals of a config."""
        return cls(
            config.log_every, config.evaluate_every or steps_per_epoch, config.checkpoint.every
        )

    def is_due(self, split: str, step: int) -> bool:
        """Returns whether metrics of a split are due after a step, the last one aside.

        The last step of a training logs metrics in any case.
        """
        return step % (self.log if split == "train" else self.validation) == 0

    def next_event_step(self, step: int) -> int:
        """Returns the next step at which logging, validation or a checkpoint is due."""
        return min(step - step % interval + interval for interval in self if interval)


def run_loop(
    config: Config,
    task: Task,
    replicates: Sequence[Replicate],
    state: TrainState,
    learning_rate: optax.Schedule,
    train_step: CompiledFunction,
    evaluate_step: CompiledFunction,
    checkpoints: Checkpoints,
    timer: TrainingTimer,
) -> TrainState:
    """Runs the training loop from a state to the end, and returns the last state.

    The metrics of each replicate depend on the training alone, not on the clock: the same training
    logs the same lines.

    Args:
      config: of the run.
      task: with summaries of the outputs.
      replicates: of the run.
      state: to start from. Its buffers are donated.
      learning_rate: of each step, to be logged.
      train_step: as `make_train_step` returns it.
      evaluate_step: as `make_evaluate_step` returns it.
      checkpoints: where finite states are saved.
      timer: of the steps.

    Raises:
      NonFiniteError: a loss or an array of the state is not finite.
      InputError: a checkpoint cannot be saved.
      InterruptedRunError: SIGINT, SIGTERM or SIGHUP ended the training; the state has been saved.
    """
    steps_per_epoch = replicates[0].dataset.train.steps_per_epoch
    total_steps = config.epochs * steps_per_epoch
    intervals = Intervals.of(config, steps_per_epoch)
    patience, plateau = config.early_stopping.patience, make_plateau(config)
    step = saved_step = state.num_steps
    is_stopped = has_stopped_early(state, patience)

    def position(step: int, split: str) -> dict[str, Any]:
        return {"step": step, "epoch": round(step / steps_per_epoch, 4), "split": split}

    with (
        InterruptRequest() as request,
        Progress("train", total_steps, step, unit=task.throughput_unit) as progress,
        Watch(config, task, replicates) as watch,
    ):
        while step < total_steps and not is_stopped:
            next_event = min(intervals.next_event_step(step), total_steps)
            with watch.part("batches"):
                group = batch_group_at(replicates, step, next_event - step)
            watch.begin_call()
            with watch.part("step"):
                state = train_step(state, group)
            step += int(group.count)
            examples = task.count_examples(group.batches.weights)
            timer.add(int(group.count), examples)
            watch.end_call(state, int(group.count), examples)
            is_last, is_log_due = step == total_steps, intervals.is_due("train", step)
            if is_log_due or is_last:
                state, means = _mean_metrics(state, reset=is_log_due)
                check_loss(means["loss"], "training", step)
                with jax.numpy_dtype_promotion("standard"):  # optax is written for it
                    scheduled_rate = float(jnp.asarray(learning_rate(step - 1)))
                watch.log_state(step, state, group)
                for index, replicate in enumerate(replicates):
                    values, rate = jax.tree.map(float, replicate.slice(means)), scheduled_rate
                    if state.plateau is not None:
                        rate *= float(replicate.slice(state.plateau.scale))
                    values = {**values, "learning_rate": rate}
                    replicate.log_metrics({**position(step, "train"), **values})
                    watch.log_metrics(index, step, "train", values)
                means = jax.tree.map(np.mean, means)
                progress.update(step, examples, **means)
                if is_log_due and step - intervals.log < PLATEAU_STEPS <= step:
                    floor = task.input_free_loss(replicates[0].dataset)
                    if warning := describe_plateau(float(means["loss"]), floor, step):
                        write_message(warning)
            else:
                progress.update(step, examples)
            if is_last or intervals.is_due("validation", step):
                check_loss(state.sums["loss"], "training", step)
                losses = []
                for index, replicate in enumerate(replicates):
                    split = replicate.dataset.validation
                    if split is None:
                        continue
                    with watch.part("validation"):
                        params = evaluate_step.copy_to_devices(replicate.slice(state.eval_params))
                        outputs = predict_split(task, evaluate_step, params, split, "validate")
                        scores = task.compute_metrics(split, outputs)
                    check_loss(scores["loss"], "validation", step)
                    replicate.log_metrics({**position(step, "validation"), **scores})
                    watch.log_metrics(index, step, "validation", scores)
                    watch.log_texts(index, step, params)
                    loss = broadcast(scores["loss"])  # processors may round it differently
                    state = _update_best(state, loss)
                    is_stopped = has_stopped_early(state, patience)
                    losses.append(loss)
                if plateau is not None:
                    state = state.replace(plateau=update_plateau(plateau, state.plateau, losses))
            is_checkpoint_due = intervals.checkpoint and step % intervals.checkpoint == 0
            signal = request.signal
            if num_processes() > 1:  # they end after the same step
                signal = next(filter(None, gather(signal)), "") if step == next_event else ""
            if is_checkpoint_due or signal:
                with watch.part("checkpoint"):
                    _save(state, replicates, checkpoints, timer)
                saved_step = step
            if signal:
                raise InterruptedRunError(signal, step, total_steps)
    if saved_step != state.num_steps:
        _save(state, replicates, checkpoints, timer)
    return state


def has_stopped_early(state: TrainState, patience: int) -> bool:
    """Returns whether early stopping has ended the training."""
    return state.best is not None and int(state.best.waited) >= patience


def metrics_digests(replicate: Replicate, step: int) -> dict[str, str]:
    """Returns digests of a replicate's metrics up to a step, without test scores.

    `all` is of every line, `due` of those that a longer training logs as well.
    """
    intervals = Intervals.of(replicate.config, replicate.dataset.train.steps_per_epoch)

    def is_logged(line: dict[str, Any]) -> bool:
        return line["split"] != "test"

    def is_due(line: dict[str, Any]) -> bool:
        return is_logged(line) and intervals.is_due(line["split"], line["step"])

    path, selections = replicate.folder.metrics, {"all": is_logged, "due": is_due}
    return {name: metrics_log.digest(path, step, keep) for name, keep in selections.items()}


def save_replicate(replicate: Replicate, state: TrainState) -> None:
    """Saves a replicate's slice of the state in its own folder, for `load_run`."""
    digests = [metrics_digests(replicate, state.num_steps)] if is_first() else []
    replicate.folder.open_checkpoints().save(state.num_steps, replicate.slice(state), digests)


def _save(
    state: TrainState,
    replicates: Sequence[Replicate],
    checkpoints: Checkpoints,
    timer: TrainingTimer,
) -> None:
    """Saves a finite state, with its time and digests of the metrics."""
    check_state(state)
    timer.save(state.num_steps, checkpoints.steps)
    digests = [
        metrics_digests(replicate, state.num_steps) for replicate in replicates if is_first()
    ]
    checkpoints.save(state.num_steps, state, digests)


def _mean_metrics(state: TrainState, reset: bool) -> tuple[TrainState, dict[str, Any]]:
    """Returns the state and the mean metrics since the last reset of their sums.

    The last step of a training resets them only where a log is due, so that an extended training
    logs the same as a longer one from the start.
    """
    sums = jax.device_get(state.sums)
    weight = sums.pop("weight")
    means = {name: value / weight for name, value in sums.items()}
    if not reset:
        return state, means
    return state.replace(sums=jax.tree.map(np.zeros_like, {**sums, "weight": weight})), means


def _update_best(state: TrainState, loss: float) -> TrainState:
    """Returns the state after a validation, with new best parameters or one more waited."""
    best = state.best
    if best is None:
        return state
    if loss < float(best.loss):
        params = jax.tree.map(jnp.copy, state.eval_params)
        step, waited = jnp.int32(state.num_steps), jnp.zeros((), jnp.int32)
        return state.replace(best=BestParams(params, jnp.float32(loss), step, waited))
    return state.replace(best=best.replace(waited=best.waited + 1))
