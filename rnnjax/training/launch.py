"""The stages of a run: start or resume, train, evaluate, report."""

import contextlib
import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from rnnjax import cache, lint_rules, models
from rnnjax.config import Config
from rnnjax.errors import InputError, is_out_of_memory
from rnnjax.interrupt import InterruptedRunError
from rnnjax.reporting.event_files import require_tensorboardx
from rnnjax.reporting.progress import write_message
from rnnjax.tasks import Task
from rnnjax.tasks.model_options import check_cell
from rnnjax.tasks.prediction import check_classes
from rnnjax.tasks.registry import find_task
from rnnjax.training.agreement import check_data, check_processes, wait_for_folder
from rnnjax.training.diagnosis import explain_non_finite
from rnnjax.training.evaluation import evaluate_replicate
from rnnjax.training.finite import NonFiniteError
from rnnjax.training.global_arrays import place
from rnnjax.training.loop import has_stopped_early, run_loop, save_replicate
from rnnjax.training.memory_limits import (
    check_parameters,
    out_of_memory_error,
)
from rnnjax.training.optimizer import (
    check_learning_rate_factors,
    check_optimizer,
    make_optimizer,
)
from rnnjax.training.processes import is_first, num_processes, wait_for_all
from rnnjax.training.replicates import Replicate, batches_to_compile
from rnnjax.training.results import (
    format_layers,
    report_finished,
    timing_values,
    write_reports,
    write_results,
)
from rnnjax.training.resume import check_metrics, load_resumed_run, record_resumption
from rnnjax.training.run_folder import RunFolder
from rnnjax.training.schedule import make_plateau, make_schedule
from rnnjax.training.sharding import Partition, make_partition, prepare_devices
from rnnjax.training.start import load_new_run, start_run
from rnnjax.training.state import InitialState, TrainState, init_state, restart_optimizer
from rnnjax.training.step import CompiledFunction, make_evaluate_step, make_train_step
from rnnjax.training.timing import TrainingTimer
from rnnjax.training.warm_start import WarmStart, apply_warm_start, match_warm_start


def train(config: Config, name: str, workdir: Path, command: str = "") -> dict[str, Any]:
    """Trains, evaluates and reports a run, or resumes the one in the folder.

    Args:
      config: of the run.
      name: of the config.
      workdir: the folder of the run: new, empty, or of a run of the same config.
      command: that started the run, for the manifest.

    Returns:
      The content of result.json.

    Raises:
      InputError: the config, the data or the folder cannot be used.
      InterruptedRunError: SIGINT, SIGTERM or SIGHUP ended the training; the state has been saved.
    """
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", str(config.preallocate).lower())
    if config.tensorboard:
        require_tensorboardx()
    prepare_devices(config)
    check_cell(config.model)  # raises before any long work
    check_optimizer(config)
    cache.enable_compilation_cache()
    task_class = find_task(config.task)
    folder = RunFolder(workdir)
    folder.check_config(config)
    is_finished = folder.result.exists() and not folder.is_extended_by(config)
    check_processes(config, folder)
    if is_finished and not folder.moved_paths(config):
        return report_finished(folder, config, task_class)
    folder.check_writable()
    partition = make_partition(config)
    check_parameters(config.data.vocabulary.size * config.model.embedding.features, config)
    is_new, warm_start = not folder.has_checkpoint, None
    if is_new:
        replicates, warm_start = load_new_run(folder, config)
    else:
        replicates = load_resumed_run(folder, config)
    check_data(replicates, warm_start)
    if is_finished:
        return report_finished(folder, config, task_class)
    task, layers = make_task(config, replicates)
    reports = match_warm_start(warm_start, task, replicates) if warm_start else []
    check_parameters(sum(row["parameters"] for row in layers), config)
    with contextlib.ExitStack() as locks:
        locks.enter_context(folder.lock(config))
        for replicate in replicates:
            if replicate.folder != folder:
                locks.enter_context(replicate.folder.lock(replicate.config))
        name = type(task).run_name(config, name)
        if is_new:
            start_run(folder, config, name, replicates, command, reports)
        elif folder.is_extended_by(config) and is_first():
            folder.extend(config)
        wait_for_folder(folder)
        write_message(format_layers(layers))
        try:
            training, scores = _train_and_evaluate(
                folder, config, partition, replicates, task, warm_start, command
            )
        except InterruptedRunError:
            if is_first():
                write_reports([replicate.folder for replicate in replicates], task_class, False)
            raise
        except (jax.errors.JaxRuntimeError, MemoryError) as error:
            if is_out_of_memory(error):
                raise out_of_memory_error(config, task.length_key, error) from error
            raise
        network = {"parameters": sum(row["parameters"] for row in layers), "model": layers}
        training = {"name": name, "task": config.task, **training, **network}
        if is_first():
            write_results(folder, replicates, task, training, scores)
            write_reports([replicate.folder for replicate in replicates], task_class)
        wait_for_all()
    return folder.read_result()


def make_task(config: Config, replicates: Sequence[Replicate]) -> tuple[Task, list[dict[str, Any]]]:
    """Returns the task with its network, and the layers of the network.

    Warns of common mistakes in the config.

    Raises:
      InputError: the warm-up or the accumulation of gradients is longer than the training, a factor
        of the learning rate is of no parameter, the cell cannot read the input, the data lack
        metadata that the task needs, or a target is a class that the network has no output for.
    """
    dataset = replicates[0].dataset
    total_steps = config.epochs * dataset.train.steps_per_epoch
    if config.warmup_steps >= total_steps:
        raise InputError(
            f"config.warmup_steps: given {config.warmup_steps}, and the training has {total_steps} "
            "steps; expected fewer, so that it reaches config.learning_rate: "
            f"{total_steps // 10}, a tenth of them, say"
        )
    if config.optimizer.accumulation_steps > total_steps:
        raise InputError(
            f"config.optimizer.accumulation_steps: given {config.optimizer.accumulation_steps}, "
            f"and the training has {total_steps} steps; expected at most so many"
        )
    for line in lint_rules.warnings(config, dataset):
        write_message(line)
    vocab_size = max(replicate.dataset.vocab_size for replicate in replicates)
    task_class, metadata = find_task(config.task), dataset.describe()
    if missing := sorted(set(task_class.metadata_keys) - set(metadata)):
        raise InputError(
            f"{task_class.__name__}.metadata_keys: given {missing[0]!r}, expected an entry of the "
            f"metadata of its source: {', '.join(metadata)}"
        )
    task = task_class.from_config(config, vocab_size, metadata)
    for replicate in replicates:
        parts = replicate.dataset
        splits = {"training": parts.train, "validation": parts.validation, "test": parts.test}
        for name, split in splits.items():
            if split:
                check_classes(task, split, f"{metadata['source']}: {name} split")
    factors = config.optimizer.learning_rate_factors
    if factors:
        check_learning_rate_factors(factors, jax.eval_shape(task.init, jax.random.key(0)))
    train = dataset.train
    lengths = tuple(np.max([np.atleast_1d(ends) for ends in train.boundaries], axis=0).tolist())
    inputs = task.input_shapes(train.batch_size, lengths)
    layers = models.describe_layers(task.model, *inputs)
    return task, [dataclasses.asdict(row) for row in layers]


class Steps(NamedTuple):
    """The training and the evaluation step of a run, and the parts that they are made of.

    Attributes:
      learning_rate: of each step.
      optimizer: of the parameters.
      initial: the state before the first step.
      shardings: of the state among several devices; None on one.
      train: as `make_train_step` returns it.
      evaluate: as `make_evaluate_step` returns it.
    """

    learning_rate: optax.Schedule
    optimizer: optax.GradientTransformation
    initial: InitialState
    shardings: TrainState | None
    train: CompiledFunction
    evaluate: CompiledFunction


def build_steps(
    config: Config, partition: Partition | None, replicates: Sequence[Replicate], task: Task
) -> Steps:
    """Builds the steps of a run, without compiling them or computing the initial state."""
    seeds = [replicate.config.seed for replicate in replicates]
    learning_rate = make_schedule(
        config.schedule,
        config.learning_rate,
        config.warmup_steps,
        config.epochs * replicates[0].dataset.train.steps_per_epoch,
        config.schedule_arguments,
    )
    optimizer = make_optimizer(config.optimizer, learning_rate, task.trainable_mask)
    initial = init_state(
        task,
        optimizer,
        seeds,
        batch_size=config.batch_size,
        track_average=bool(config.averaging.decay),
        track_best=bool(config.early_stopping.patience),
        plateau=make_plateau(config),
        vectors=[replicate.vectors for replicate in replicates if replicate.vectors],
    )
    shardings, options = None, {}
    if partition:
        shardings = partition.shard_state(task, config.batch_size, len(seeds), initial.shapes)
        group = partition.shard_group(config.batch_size, len(seeds) > 1)
        options = {"in_shardings": (shardings, group), "out_shardings": shardings}
    train = make_train_step(task, optimizer, seeds, config.averaging.decay, partition, **options)
    evaluate = make_evaluate_step(task, partition and partition.for_evaluation())
    return Steps(learning_rate, optimizer, initial, shardings, train, evaluate)


def _train_and_evaluate(
    folder: RunFolder,
    config: Config,
    partition: Partition | None,
    replicates: Sequence[Replicate],
    task: Task,
    warm_start: WarmStart | None,
    command: str,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Trains from the newest checkpoint or from the start, and evaluates each replicate.

    Returns:
      Steps, time and compilations of the training, and the scores of each replicate.

    Raises:
      NonFiniteError: a loss, parameter or gradient is not finite; the message names its source.
    """
    dataset = replicates[0].dataset
    steps_per_epoch = dataset.train.steps_per_epoch
    total_steps = config.epochs * steps_per_epoch
    steps = build_steps(config, partition, replicates, task)
    initial, shardings = steps.initial, steps.shardings
    checkpoints = folder.open_checkpoints()
    with (
        contextlib.closing(steps.train) as train_step,
        contextlib.closing(steps.evaluate) as evaluate_step,
    ):
        if max(checkpoints.steps, default=0) < total_steps:
            train_step.prepare(initial.shapes, batches_to_compile(replicates))

        def latest_state(repair: bool = False) -> tuple[int, TrainState]:
            """Returns step and state of the newest checkpoint, or of the start."""
            state = initial.create()
            if warm_start:
                state = apply_warm_start(warm_start, task, replicates, state)
                state = restart_optimizer(task, steps.optimizer, len(replicates), state)
            if shardings:
                put = jax.device_put if num_processes() == 1 else place
                state = put(state, shardings)
            return checkpoints.restore(state, repair=repair) or (0, state)

        resumed_from, state = latest_state(repair=True)
        if resumed_from:
            check_metrics(replicates, checkpoints, resumed_from)
            write_message(f"going on from step {resumed_from}")
        record_resumption(folder, replicates, command, resumed_from)
        if resumed_from < total_steps:
            boundaries = ", ".join(map(str, dataset.train.boundaries))
            write_message(
                f"training {total_steps - resumed_from} steps of {config.batch_size} "
                f"{task.example_unit}, padded to {boundaries} steps, each compiled once"
            )
            if config.hints:
                write_message(
                    "compiling: the network becomes machine code for each of these lengths, some "
                    "seconds the first time; the next run finds it in the cache"
                )
        inputs = replicates[0].slice(state.params), task.initial_carry(dataset.test.batch_size)
        evaluate_step.prepare(inputs, dataset.test.empty_batches())
        timer = TrainingTimer(folder.timing, resumed_from)
        try:
            state = run_loop(
                config,
                task,
                replicates,
                state,
                steps.learning_rate,
                train_step,
                evaluate_step,
                checkpoints,
                timer,
            )
        except NonFiniteError as error:
            if num_processes() > 1:
                raise
            _, state = latest_state()
            raise explain_non_finite(error, task, replicates, state) from error
        timer.stop(state.num_steps, checkpoints.steps)
        scores = [
            evaluate_replicate(task, replicate, state, evaluate_step) for replicate in replicates
        ]
    for replicate in replicates:
        if replicate.folder != folder:
            save_replicate(replicate, state)
    training = {
        "steps": state.num_steps,
        "epochs": state.num_steps / steps_per_epoch,
        "resumed_from": resumed_from,
        **timing_values(timer.totals, task.throughput_unit),
        "compilations": {
            "train": train_step.compilations,
            "evaluate": evaluate_step.compilations,
        },
        "stopped_early": has_stopped_early(state, config.early_stopping.patience),
    }
    return training, scores
