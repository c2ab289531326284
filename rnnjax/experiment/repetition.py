"""A recorded seed is trained again, and what comes of it is held against its record.

The same command on the same kind of processor gives the same numbers. Another processor rounds
otherwise, and where a training is unsteady it ends elsewhere: then the new run has to lie where a
new run of the config is expected, from the spread of the recorded ones.
"""

import itertools
from collections.abc import Mapping, Sequence

from rnnjax.config import Config
from rnnjax.console import write_output
from rnnjax.errors import InputError
from rnnjax.experiment import runner
from rnnjax.experiment.claims import FAIL, INCOMPARABLE, PASS, UNCHECKED, ClaimResult, in_words
from rnnjax.experiment.plan import Entry, Experiment
from rnnjax.experiment.records import Run, number
from rnnjax.reporting import run_groups
from rnnjax.reporting.statistics import prediction_interval


def choose_entries(experiment: Experiment, names: Sequence[str], seed: int) -> list[Entry]:
    """Returns the entries of which a seed is recorded, only those that are named if some are.

    Raises:
      InputError: there is no such entry, or no such run.
    """
    recorded = {run["name"] for run in experiment.runs if run["seed"] == seed}
    for name in names:
        if name not in recorded:
            known = sorted(run["seed"] for run in experiment.runs if run["name"] == name)
            there = ", ".join(dict.fromkeys(run["name"] for run in experiment.runs))
            raise InputError(
                f"{experiment.records}: has no run of {name}, seed {seed}; recorded are "
                f"{f'its seeds {in_words(known)}' if known else there or 'none'}"
            )
    entries = [each for each in experiment.plan.entry if each.name in (names or recorded)]
    if not entries:
        seeds = sorted({run["seed"] for run in experiment.runs})
        raise InputError(
            f"{experiment.records}: has no run of seed {seed}; recorded are seeds "
            f"{in_words(seeds) or 'none'}"
        )
    return entries


def repeat(
    experiment: Experiment, configs: Mapping[str, Config], entries: Sequence[Entry], seed: int
) -> list[ClaimResult]:
    """Trains a recorded seed of some entries again, prints both scores, and returns the verdicts.

    The runs are in a new folder `repeat-1`, `repeat-2` and so on beside those of the experiment; an
    interrupted one is gone on with. No record is changed.

    Args:
      experiment: with the recorded runs.
      configs: of its entries, by name.
      entries: of which the seed is recorded.
      seed: to train with.

    Raises:
      InputError: a training fails.
    """
    recorded = {run["name"]: run for run in experiment.runs if run["seed"] == seed}
    findings: list[ClaimResult] = []

    def compare(run: Run) -> None:
        entry = next(entry for entry in entries if entry.name == run["name"])
        findings.append(judge_repeated(experiment, entry, recorded[entry.name], run))
        lines = side_by_side(recorded[entry.name], run)
        write_output("\n".join([f"{entry.name}, seed {seed}", *(f"  {line}" for line in lines)]))

    planned = [_plan(experiment, entry, seed) for entry in entries]
    runner.train(experiment, configs, planned, jobs=1, record=compare)
    return findings


def side_by_side(recorded: Run, repeated: Run) -> list[str]:
    """Returns a line for each score of the test part, and one for how the environments differ."""
    lines = []
    for score in (score for score in recorded["test"] if score != "rows"):
        then, now = (number(run, f"test.{score}") for run in (recorded, repeated))
        if then is not None and now is not None:
            lines.append(
                f"test {score}: recorded {then:.6f}, repeated {now:.6f}, {now - then:+.6f}"
            )
    differing = run_groups.compare_environments(
        [recorded["environment"]], [repeated["environment"]]
    )
    return [*lines, f"environment: {'; '.join(differing) if differing else 'the same'}"]


def judge_repeated(
    experiment: Experiment, entry: Entry, recorded: Run, repeated: Run
) -> ClaimResult:
    """Returns the verdict on a repeated run.

    PASS are the same numbers, or a score where a new run is expected; FAIL is a score elsewhere;
    INCOMPARABLE is a run on other data; UNCHECKED is one that no spread of seeds was recorded for.
    """
    of, score = f"{entry.name}, seed {recorded['seed']}", experiment.plan.scores[0]
    then, now = (run["data"]["fingerprint"] for run in (recorded, repeated))
    if then != now:
        says = (
            f"the record is of data of the fingerprint {then[:12]}, and the new run of {now[:12]}"
        )
        return ClaimResult(INCOMPARABLE, of, says)
    if all(repeated["test"].get(name) == value for name, value in recorded["test"].items()):
        return ClaimResult(PASS, of, "every score of the test part is the same to the last bit")
    runs = experiment.runs_of(entry)
    values = [number(run, f"test.{score}") for run in runs]
    low, high = prediction_interval([each for each in values if each is not None], 1, score)
    value = number(repeated, f"test.{score}")
    seeds = in_words([run["seed"] for run in runs])
    if len(runs) < 2 or low == high or value is None:
        says = f"the numbers differ, and seeds {seeds} have no spread to judge it by"
        return ClaimResult(UNCHECKED, of, says)
    within = low <= value <= high
    says = (
        f"the numbers differ; test {score} {value:.4f} lies {'within' if within else 'outside'} "
        f"{low:.4f} to {high:.4f}, where a new run is expected (95 %) from seeds {seeds}"
    )
    return ClaimResult(PASS if within else FAIL, of, says)


def _plan(experiment: Experiment, entry: Entry, seed: int) -> runner.Planned:
    """Returns a run in the first folder in which it has not ended yet."""
    base = runner.folder_of_runs(experiment.folder)
    folders = (
        base / f"repeat-{count}" / f"{entry.name}-seed{seed}" for count in itertools.count(1)
    )
    return runner.Planned(
        entry, seed, next(each for each in folders if not (each / "result.json").exists())
    )
