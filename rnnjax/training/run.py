"""A run from a config to a report."""

import contextlib
import dataclasses
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax

from rnnjax import cache, models, rules
from rnnjax.cells import make_cell
from rnnjax.config import Config
from rnnjax.data.vectors import check_vectors
from rnnjax.errors import InputError
from rnnjax.files import check_writable, explain
from rnnjax.reporting import metrics as metrics_lib
from rnnjax.reporting import run_files
from rnnjax.reporting.progress import say
from rnnjax.reporting.record import Config as ConfigFile
from rnnjax.reporting.report import write_report
from rnnjax.tasks import TASKS, Task
from rnnjax.tasks.scores import in_words, of_seeds
from rnnjax.training.diagnosis import explained
from rnnjax.training.environment import environment
from rnnjax.training.evaluation import answers
from rnnjax.training.finite import NonFiniteError, check_scores
from rnnjax.training.folder import RunFolder
from rnnjax.training.initial import Source, begin_from, check_source, read_source
from rnnjax.training.loop import has_stopped, metrics_digests, train
from rnnjax.training.members import Member, blank_stacks, make_members
from rnnjax.training.memory import check_embedding, check_parameters
from rnnjax.training.optimizer import make_optimizer
from rnnjax.training.resume import (
    bucketing_epochs,
    check_contents,
    check_metrics,
    check_same_data,
    is_of_longer,
)
from rnnjax.training.state import TrainState, init_state, is_found
from rnnjax.training.step import (
    Compiled,
    is_out_of_memory,
    make_evaluate_step,
    make_train_step,
)
from rnnjax.training.timing import Timing, Total


def run(config: Config, name: str, workdir: Path, command: str = "") -> dict[str, Any]:
    """Trains, evaluates and reports, or goes on with what was begun in the folder.

    Args:
      config: what to do.
      name: of the config.
      workdir: the folder of the run, new, empty, or of the same config.
      command: what the user typed, for the record.

    Returns:
      What result.json says.

    Raises:
      InputError: something given cannot be used; the message says what and what to do.
      InterruptedRunError: SIGINT, SIGTERM or SIGHUP came while it trained; the state
        has been saved.
    """
    make_cell(config.model.cell, config.model.features)  # a mistake is told before any work
    cache.keep_compilations()
    folder = RunFolder(workdir)
    folder.check(config)
    finished = folder.result.exists() and not folder.is_longer(config)
    if finished and not folder.moved_paths(config):
        return _finished(folder, config)
    _check_writable(workdir)
    check_embedding(config)
    name = TASKS[config.task].run_name(config, name)
    begins, source, epochs = not folder.has_checkpoint, None, config.epochs
    if not begins:
        if folder.is_longer(config):
            with folder.claim(config):
                folder.mend_longer(config)
        folder.read()
        epochs = bucketing_epochs(folder, config)
    else:
        if config.model.embedding.path:
            check_vectors(config)
        if config.init_from:
            source = read_source(config)
    corpus = TASKS[config.task].load(config)
    members = make_members(config, folder, corpus, begin=begins, epochs=epochs)
    if not begins:
        for member in members:
            check_contents(member)
    if finished:
        return _finished(folder, config)
    total = config.epochs * members[0].dataset.train.steps_per_epoch
    if config.warmup_steps >= total:
        raise InputError(
            f"config.warmup_steps: given {config.warmup_steps}, and the training has {total} "
            f"steps; expected fewer, so that it reaches config.learning_rate: {total // 10}, a "
            "tenth of them, say"
        )
    dataset = members[0].dataset
    for line in rules.warnings(config, dataset):
        say(line)
    known = max(member.dataset.known for member in members)
    task = TASKS[config.task].of(config, known, dataset.describe())
    # A cell that cannot read what the task gives it is found here, before anything is written.
    rows = models.table(task.model, *task.inputs(dataset.train))
    accounts = check_source(source, task, members) if source else []
    layers = [dataclasses.asdict(row) for row in rows]
    check_parameters(config, sum(row["parameters"] for row in layers))
    with contextlib.ExitStack() as claims:
        claims.enter_context(folder.claim(config))
        for member in members:
            if member.folder != folder:
                claims.enter_context(member.folder.claim(member.config))
        if begins:
            _begin(folder, config, name, members, command, accounts)
        elif folder.is_longer(config):
            folder.write_longer(config)
        try:
            result = _train_and_judge(folder, config, name, members, task, layers, source, command)
        except (jax.errors.JaxRuntimeError, MemoryError) as error:
            _raise_if_out_of_memory(config, error)
            raise
        for member in members:
            say(f"report: {write_report(member.folder.path)}")
    return result


def _finished(folder: RunFolder, config: Config) -> dict[str, Any]:
    """Returns the result of a run that has ended, and writes reports that are not there."""
    result = folder.read_result()
    with folder.claim(config):
        lacking = [own for _, own in folder.replicates(config) if not own.report.exists()]
        for own in lacking:
            say(f"report: {write_report(own.path)}")
        if not lacking:
            say(f"{folder.path} holds a finished run; nothing is left to do")
    return result


def _check_writable(workdir: Path) -> None:
    """Raises InputError if the run's folder cannot be made or written, before data are read."""
    try:
        check_writable(workdir)
    except OSError as error:
        cause, remedy = explain(error)
        raise InputError(
            f"workdir {workdir}: cannot be written ({cause}); {remedy}, or give another --workdir"
        ) from error


def _begin(
    folder: RunFolder,
    config: Config,
    name: str,
    members: Sequence[Member],
    command: str,
    accounts: Sequence[dict[str, Any]],
) -> None:
    """Writes everything that is fixed when a run begins, of its replicates as well.

    Args:
      folder: of the run.
      config: of the run.
      name: of the run.
      members: what is trained.
      command: what the user typed.
      accounts: of each member, what it takes of the run that it begins with; none without one.

    Raises:
      InputError: another process has trained in the folder meanwhile, or steps were done with other
        data.
    """
    if folder.has_checkpoint:
        raise InputError(
            f"workdir {folder.path}: another process has trained in it while this one read the "
            "data; repeat the command, which goes on from there"
        )
    for member in members:
        if member.folder.metrics.exists() and metrics_lib.read(member.folder.metrics):
            check_same_data(member, run_files.load_manifest(member.folder.path).data.values())
    if folder.environment.exists():
        say("there is no checkpoint to go on from; the training begins again")
    made_with = {**environment(command), "bucketing_epochs": config.epochs}
    initial = [{"init_from": account} for account in accounts] or [{}] * len(members)
    for member, begun in zip(members, initial, strict=True):
        if member.folder != folder:
            member.folder.discard_outcome()
            typed = {**made_with, **begun, "command": _command_of(member, command)}
            _write_beginning(member.folder, member.config, name, member, typed)
    folder.result.unlink(missing_ok=True)
    _write_beginning(folder, config, name, members[0], {**made_with, **initial[0]})


def _write_beginning(
    folder: RunFolder, config: Config, name: str, member: Member, made_with: dict[str, Any]
) -> None:
    dataset = member.dataset
    # Each replicate has its own vocabulary in its own folder.
    vocabulary = dataset.vocabulary if folder == member.folder else None
    run_files.begin(
        folder.path,
        ConfigFile(name=name, config=config.model_dump(), **dataset.mark),
        vocabulary.to_json() if vocabulary else "",
        {**made_with, "data": member.describe()},
    )


def _train_and_judge(
    folder: RunFolder,
    config: Config,
    name: str,
    members: Sequence[Member],
    task: Task,
    layers: list[dict[str, Any]],
    source: Source | None,
    command: str,
) -> dict[str, Any]:
    dataset = members[0].dataset
    total = config.epochs * dataset.train.steps_per_epoch
    optimizer = make_optimizer(config, total, task.trained)
    seeds = [member.config.seed for member in members]
    vectors = [member.vectors for member in members if member.vectors]
    first = init_state(task, optimizer, seeds, config, vectors)
    say(_table_text(layers))
    checkpoints = folder.open_checkpoints()
    with (
        contextlib.closing(
            make_train_step(task, optimizer, seeds, config.averaging.decay)
        ) as train_step,
        contextlib.closing(make_evaluate_step(task)) as evaluate_step,
    ):
        if max(checkpoints.steps, default=0) < total:
            train_step.prepare(first.shapes, blank_stacks(members))
        state = first.make()
        restored = checkpoints.restore(state, repair=True)
        if restored is not None:
            step, state = restored
            check_metrics(members, checkpoints, step)
            say(f"going on from step {step}")
        elif source:
            state = begin_from(source, task, members, state)
        begun_at = state.done
        is_kept = is_of_longer(config, dataset.train.steps_per_epoch)
        _record_start(folder, members, command, begun_at, is_kept)
        if begun_at < total:
            say(
                f"training {total - begun_at} steps of {config.batch_size} {task.rows}, padded to "
                f"{', '.join(map(str, dataset.train.boundaries))} steps, each compiled once"
            )
        asked = members[0].own(state.params), task.begin(config.batch_size)
        evaluate_step.prepare(asked, dataset.test.blank_batches())
        timing = Timing(folder.timing, begun_at)
        try:
            state = train(
                config, task, members, state, train_step, evaluate_step, checkpoints, timing
            )
        except NonFiniteError as error:
            state = first.make()
            if source:
                state = begin_from(source, task, members, state)
            _, state = checkpoints.restore(state) or (0, state)
            raise explained(error, task, members, state) from error
        timing.stop(state.done, checkpoints.steps)
        judged = [_judge(task, member, state, evaluate_step) for member in members]
    steps, spent = state.done, timing.total
    told = {
        "name": name,
        "task": config.task,
        "steps": steps,
        "epochs": steps / dataset.train.steps_per_epoch,
        "resumed_from": begun_at,
        "timed_steps": spent.steps,
        "train_seconds": round(spent.train_seconds, 3),
        "cpu_seconds": round(spent.cpu_seconds, 1),  # of whole processes, on all cores
        **_speed(task, spent),
        "compilations": {
            "train": train_step.compilations,
            "evaluate": evaluate_step.compilations,
        },
        "stopped_early": has_stopped(config, state),
        "parameters": sum(row["parameters"] for row in layers),
        "model": layers,
    }
    results = [{**told, **each} for each in judged]
    for member, result in zip(members, results, strict=True):
        if member.folder != folder:  # predict and evaluate look for a replicate's state there
            digests = [metrics_digests(member, state.done)]
            member.folder.open_checkpoints().save(state.done, member.own(state), digests)
        summary = member.folder.write_result(result)
    if config.replicates > 1:
        summary = folder.write_result(of_seeds({**told, "seeds": seeds}, results))
    ending = ", stopped early" if told["stopped_early"] else ""
    say(
        f"{in_words(summary, task.shown, task.counted)}; trained {spent.steps} steps in "
        f"{spent.train_seconds:.1f} s{ending}; compilations: {train_step.compilations}, padded "
        f"lengths: {len(dataset.train.boundaries)}"
    )
    return summary


def _speed(task: Task, spent: Total) -> dict[str, float]:
    """Returns the rows or tokens a second of all replicates; nothing where no step was timed."""
    if not spent.train_seconds:
        return {}
    return {f"{task.unit}_per_second": round(spent.examples / spent.train_seconds, 1)}


def _judge(
    task: Task, member: Member, state: TrainState, evaluate_step: Compiled
) -> dict[str, Any]:
    """Returns what is said of a trained network, and writes its scores on the test part."""
    dataset, folder = member.dataset, member.folder
    best, step = state.best, state.done
    params = member.own(state.judged)
    if best is not None and is_found(best.loss):
        params, step = best.params, int(best.step)
    parts = {"validation": dataset.validation, "test": dataset.test}
    found = {
        split: answers(task, evaluate_step, params, part, split)
        for split, part in parts.items()
        if part
    }
    judged = {split: task.summary(parts[split], each) for split, each in found.items()}
    details = task.details(member.config, dataset, params, found["test"])
    judged["test"] |= details.pop("test", {})
    for split, scores in judged.items():
        check_scores(scores, f"{folder.path}, {split} part")
    epoch = round(step / dataset.train.steps_per_epoch, 4)
    member.metrics.write({"step": step, "epoch": epoch, "split": "test", **judged["test"]})
    return {
        **judged,
        "best_step": step,
        "buckets": list(dataset.train.boundaries),
        "data": folder.read_data(),
        **details,
    }


def _table_text(layers: list[dict[str, Any]]) -> str:
    total = sum(row["parameters"] for row in layers)
    cells = [["layer", "type", "output", "parameters"]]
    cells += [[*list(row.values())[:3], f"{row['parameters']:,}"] for row in layers]
    cells += [["total", "", "", f"{total:,}"]]
    widths = [max(len(row[column]) for row in cells) for column in range(4)]
    return "\n".join(
        f"{layer:<{widths[0]}}  {kind:<{widths[1]}}  {output:<{widths[2]}}  {count:>{widths[3]}}"
        for layer, kind, output, count in cells
    )


def _record_start(
    folder: RunFolder,
    members: Sequence[Member],
    command: str,
    step: int,
    is_kept: Callable[[dict[str, Any]], bool],
) -> None:
    """Records what the steps after a checkpoint are done with, and drops their old metrics."""
    if step:
        made_with = environment(command)
        folder.write_resumed(step, made_with)
        for member in members:
            if member.folder != folder:
                typed = {"command": _command_of(member, command)}
                member.folder.write_resumed(step, {**made_with, **typed})
    for member in members:
        metrics_lib.truncate(member.folder.metrics, step, is_kept)


def _command_of(member: Member, command: str) -> str:
    """Returns the command that trains a replicate by itself."""
    flags = f"--config.seed={member.config.seed} --config.replicates=1"
    return f"{command} {flags} --workdir={shlex.quote(str(member.folder.path))}"


def _raise_if_out_of_memory(config: Config, error: Exception) -> None:
    if not is_out_of_memory(error):
        return
    given, (said, *_) = config.data, [*str(error).splitlines(), type(error).__name__]
    steps = {
        "classification": f"config.data.max_tokens (now {given.max_tokens}, 0 is no limit)",
        "language_modeling": f"config.data.steps (now {given.steps})",
        "memory": f"config.data.memory.length (now {given.memory.length})",
        "translation": f"config.data.vocabulary.size (now {given.vocabulary.size})",
    }[config.task]
    raise InputError(
        "the device ran out of memory. Lower config.batch_size "
        f"(now {config.batch_size}), {steps} or config.model.features (now "
        f"{config.model.features}), in a new folder; or free "
        f"the device of other programs. It said: {said[:200]}"
    ) from error
