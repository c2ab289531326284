"""Runs the trials of a sweep, and records each in search.jsonl.

A line has the table of the sweep, the values of a trial, its command and its scores on the
validation part at each evaluation, and none of the test part. Lines of searches by hand have its
description, command and scores.
"""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rnnjax import lint_rules
from rnnjax.config import Config
from rnnjax.errors import InputError
from rnnjax.experiment import records
from rnnjax.experiment.plan import PLAN, Experiment
from rnnjax.experiment.runner import Planned, Training, runs_folder, train
from rnnjax.experiment.search import COMPLETE, FAILED, PRUNED, is_worse, propose, require_optuna
from rnnjax.experiment.sweep_plan import Setting, Sweep, describe_setting
from rnnjax.experiment.workers import Workers
from rnnjax.input_files import load_text, parse_json
from rnnjax.reporting import run_files
from rnnjax.reporting.atomic_files import write_json
from rnnjax.reporting.progress import write_message

_RECORDED_KEYS = ("config", "validation", "parameters", "train_seconds", "cpu_seconds", "steps")
_RECORDED_KEYS += ("data", "environment")
"""Keys of a finished run that the record of its trial has."""


def run_search(experiment: Experiment, workers: Workers) -> None:
    """Trains the trials that search.jsonl lacks, and appends a line for each.

    An interrupted trial is resumed. A trial that fails after it has begun, because its loss is not
    finite, say, is recorded as failed.

    Args:
      experiment: with a sweep, and the recorded trials.
      workers: that run them.

    Raises:
      InputError: a setting is refused, the trials have no validation part of their own, or none has
        begun.
      Terminated: as for `rnnjax.experiment.runner.train`.
    """
    sweep = experiment.sweep
    require_optuna(sweep)
    better = check_sweep(experiment)
    trials = list(experiment.trials)
    recorded = {trial["trial"] for trial in trials}
    numbers = [number for number in range(sweep.budget) if number not in recorded]
    settings: dict[str, Setting] = {}
    configs: dict[str, Config] = {}

    def plan_trials() -> Iterator[Planned]:
        for number in numbers:
            workdir = runs_folder(experiment.folder) / f"trial-{number}"
            if workdir.exists():
                setting = _read_setting(sweep, workdir)
            else:
                setting = propose(sweep, number, trials, list(settings.values()), better)
            entry = experiment.trial_entry(number, setting)
            configs[entry.name] = experiment.load_config(entry)
            workdir.parent.mkdir(parents=True, exist_ok=True)
            write_json(_setting_path(workdir), {"sweep": sweep.described(), "values": setting})
            settings[entry.name] = setting
            write_message(f"{entry.name}: {describe_setting(setting)}")
            yield Planned(entry, sweep.seed, workdir)

    def record(training: Training) -> None:
        setting = settings.pop(training.entry.name)
        trial = _record_trial(sweep, training, setting)
        records.append(experiment.search_records, trial)
        trials.append(trial)

    def is_hopeless(training: Training) -> bool:
        if not sweep.prune:
            return False
        scores = [line[sweep.score] for line in _evaluations(sweep, training)]
        return bool(scores) and is_worse(sweep, trials, scores, better)

    train(experiment, configs, plan_trials(), len(numbers), workers, record, is_hopeless)


def check_sweep(experiment: Experiment) -> str:
    """Returns whether a 'higher' or a 'lower' score is better in the sweep of an experiment.

    Raises:
      InputError: the trials would be compared on the test part, or by an unknown score, or they
        are of replicates.
    """
    sweep, place = experiment.sweep, f"{experiment.folder / PLAN}: [sweep]"
    config = experiment.trial_config()
    message = lint_rules.swept_on_test(config)
    if message and not config.acknowledged.swept_on_test:
        raise InputError(f"{place} {message}")
    if config.replicates > 1:
        raise InputError(f"{place} has trials of replicates; leave config.replicates at 1")
    if not (better := config.task_schema.better(sweep.score)):
        raise InputError(
            f"{place} has the score {sweep.score!r}, of which no task of the config says whether "
            "higher or lower is better; expected 'loss' or 'accuracy', say"
        )
    return better


def _setting_path(workdir: Path) -> Path:
    return workdir.with_name(f"{workdir.name}.json")


def _read_setting(sweep: Sweep, workdir: Path) -> Setting:
    """Returns the setting of a trial that was interrupted.

    Raises:
      InputError: its run is of another sweep, or the file with its setting is damaged.
    """
    path = _setting_path(workdir)
    remedy = "move the folder away to begin the trial again"
    try:
        saved = parse_json(load_text(path))
        setting, differences = dict(saved["values"]), sweep.differences(saved["sweep"])
    except (OSError, ValueError, TypeError, KeyError):
        raise InputError(f"{workdir}: {path.name} beside it has no setting; {remedy}") from None
    if differences:
        raise InputError(
            f"{workdir}: is the run of another [sweep] (now, then): {'; '.join(differences)}; "
            f"{remedy}, or bring the [sweep] back"
        )
    return setting


def _evaluations(sweep: Sweep, training: Training) -> list[dict[str, Any]]:
    """Returns the scores of a trial on the validation part at each evaluation.

    Raises:
      InputError: the score of the sweep is not among them.
    """
    lines = [line for line in training.metrics() if line["split"] == "validation"]
    for line in lines:
        _check_score(sweep, training, line)
    return [{key: value for key, value in line.items() if key != "split"} for line in lines]


def _check_score(sweep: Sweep, training: Training, scores: Mapping[str, Any]) -> None:
    """Raises InputError if the score of the sweep is not among those of a trial."""
    if sweep.score not in scores:
        names = [name for name in scores if name not in ("step", "epoch", "split", "rows")]
        raise InputError(
            f"{training.workdir}: the validation part has no {sweep.score}; it has "
            f"{', '.join(names) or 'no scores'}"
        )


def _record_trial(sweep: Sweep, training: Training, setting: Setting) -> dict[str, Any]:
    """Returns the record of a trial.

    Raises:
      InputError: it failed before it began, was killed, or has no score on the validation part.
    """
    trial = {
        "what": describe_setting(setting),
        "trial": int(training.workdir.name.rpartition("-")[2]),
        "values": setting,
        "sweep": sweep.described(),
        "command": training.command,
        "by_evaluation": _evaluations(sweep, training),
    }
    if training.is_finished:
        run = records.summarize_run(training.workdir)
        _check_score(sweep, training, run.get("validation", {}))
        score = records.number(run, f"validation.{sweep.score}")
        if score is None or not math.isfinite(score):
            return _failed(training, trial, f"the {sweep.score} on the validation part is {score}")
        results = {key: run[key] for key in _RECORDED_KEYS if key in run}
        return {**trial, "state": COMPLETE, **results}
    if training.stopped:
        return {**trial, "state": PRUNED}
    has_begun = (training.workdir / run_files.MANIFEST).exists()
    if (training.process.poll() or 0) < 0 or not has_begun:
        raise InputError(training.failure())
    return _failed(training, trial, training.last_line())


def _failed(training: Training, trial: dict[str, Any], reason: str) -> dict[str, Any]:
    """Returns the record of a trial that failed, and reports why."""
    write_message(f"{training.name}: failed: {reason}")
    return {**trial, "state": FAILED, "error": reason}
