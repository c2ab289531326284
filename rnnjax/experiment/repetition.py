"""Trains a recorded seed again and compares the scores with the record.

The same command on the same kind of processor gives the same numbers. Another processor rounds
differently, and an unstable training ends elsewhere: then the score has to lie in the prediction
interval for one new run, from the spread of the recorded ones.
"""

import itertools
from collections.abc import Mapping, Sequence

from rnnjax.config import Config
from rnnjax.console import write_output
from rnnjax.errors import InputError
from rnnjax.experiment import runner
from rnnjax.experiment.claims import (
    FAIL,
    INCOMPARABLE,
    PASS,
    UNCHECKED,
    ClaimResult,
    format_seeds,
)
from rnnjax.experiment.plan import Entry, Experiment
from rnnjax.experiment.records import Run, number
from rnnjax.experiment.workers import LocalWorkers
from rnnjax.reporting import run_groups
from rnnjax.reporting.statistics import prediction_interval


def choose_entries(experiment: Experiment, names: Sequence[str], seed: int) -> list[Entry]:
    """Returns the entries with a record of the seed, restricted to names if there are any.

    Raises:
      InputError: there is no such entry, or no such run.
    """
    recorded = {run["name"] for run in experiment.runs if run["seed"] == seed}
    for name in names:
        if name not in recorded:
            seeds = sorted(run["seed"] for run in experiment.runs if run["name"] == name)
            entries = ", ".join(dict.fromkeys(run["name"] for run in experiment.runs))
            raise InputError(
                f"{experiment.records}: has no run of {name}, seed {seed}; recorded are "
                f"{f'its seeds {format_seeds(seeds)}' if seeds else entries or 'none'}"
            )
    entries = [entry for entry in experiment.plan.entry if entry.name in (names or recorded)]
    if not entries:
        seeds = sorted({run["seed"] for run in experiment.runs})
        raise InputError(
            f"{experiment.records}: has no run of seed {seed}; recorded are seeds "
            f"{format_seeds(seeds) or 'none'}"
        )
    return entries


def repeat(
    experiment: Experiment, configs: Mapping[str, Config], entries: Sequence[Entry], seed: int
) -> list[ClaimResult]:
    """Trains a recorded seed of entries again, prints both scores, and returns the verdicts.

    The runs are in a new folder `repeat-1`, `repeat-2` and so on beside those of the experiment; an
    interrupted one is resumed. No record is changed.

    Args:
      experiment: with the recorded runs.
      configs: config of each entry by name.
      entries: entries with a record of the seed.
      seed: random seed.

    Raises:
      InputError: a training fails.
    """
    recorded = {run["name"]: run for run in experiment.runs if run["seed"] == seed}
    results: list[ClaimResult] = []

    def compare(training: runner.Training) -> None:
        run = training.record()
        entry = next(entry for entry in entries if entry.name == run["name"])
        results.append(evaluate_repetition(experiment, entry, recorded[entry.name], run))
        lines = compare_runs(recorded[entry.name], run)
        write_output("\n".join([f"{entry.name}, seed {seed}", *(f"  {line}" for line in lines)]))

    planned = [_plan(experiment, entry, seed) for entry in entries]
    runner.train(experiment, configs, planned, len(planned), LocalWorkers(), compare)
    return results


def compare_runs(recorded: Run, repeated: Run) -> list[str]:
    """Returns a line for each test score, and one for differences of the environments."""
    lines = []
    for score in (score for score in recorded["test"] if score != "rows"):
        a, b = (number(run, f"test.{score}") for run in (recorded, repeated))
        if a is not None and b is not None:
            lines.append(f"test {score}: recorded {a:.6f}, repeated {b:.6f}, {b - a:+.6f}")
    differences = run_groups.compare_environments(
        [recorded["environment"]], [repeated["environment"]]
    )
    return [*lines, f"environment: {'; '.join(differences) if differences else 'the same'}"]


def evaluate_repetition(
    experiment: Experiment, entry: Entry, recorded: Run, repeated: Run
) -> ClaimResult:
    """Evaluates a repeated run.

    PASS are equal numbers, or a score within the prediction interval; FAIL is a score outside;
    INCOMPARABLE is a run on other data; UNCHECKED one without a spread of recorded seeds.
    """
    subject, score = f"{entry.name}, seed {recorded['seed']}", experiment.plan.scores[0]
    a, b = (run["data"]["fingerprint"] for run in (recorded, repeated))
    if a != b:
        message = f"the record is of data of the fingerprint {a[:12]}, and the new run of {b[:12]}"
        return ClaimResult(INCOMPARABLE, subject, message)
    if all(repeated["test"].get(name) == value for name, value in recorded["test"].items()):
        return ClaimResult(PASS, subject, "every test score is the same to the last bit")
    runs = experiment.runs_of(entry)
    values = [value for run in runs if (value := number(run, f"test.{score}")) is not None]
    low, high = prediction_interval(values, 1, score)
    value = number(repeated, f"test.{score}")
    seeds = format_seeds([run["seed"] for run in runs])
    if len(runs) < 2 or low == high or value is None:
        message = f"the numbers differ, and seeds {seeds} have no spread to compare with"
        return ClaimResult(UNCHECKED, subject, message)
    within = low <= value <= high
    message = (
        f"the numbers differ; test {score} {value:.4f} lies {'within' if within else 'outside'} "
        f"{low:.4f} to {high:.4f}, where a new run is expected (95 %) from seeds {seeds}"
    )
    return ClaimResult(PASS if within else FAIL, subject, message)


def _plan(experiment: Experiment, entry: Entry, seed: int) -> runner.Planned:
    """Plans a run in the first folder without a finished one."""
    base = runner.runs_folder(experiment.folder)
    folders = (
        base / f"repeat-{count}" / f"{entry.name}-seed{seed}" for count in itertools.count(1)
    )
    return runner.Planned(
        entry, seed, next(path for path in folders if not (path / "result.json").exists())
    )
