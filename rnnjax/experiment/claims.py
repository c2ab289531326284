"""What a mean over seeds says, and whether it lies where it was claimed to lie."""

import statistics
from collections.abc import Sequence
from typing import NamedTuple

from rnnjax.errors import InputError
from rnnjax.experiment.plan import Entry, Experiment
from rnnjax.experiment.records import number
from rnnjax.reporting.statistics import interval_of_score, prediction_interval

PASS, FAIL, INCOMPARABLE, UNCHECKED = VERDICTS = ("PASS", "FAIL", "INCOMPARABLE", "UNCHECKED")


class ClaimResult(NamedTuple):
    """One thing that was checked: the verdict, what it is of, and why."""

    verdict: str
    of: str
    says: str

    def __str__(self) -> str:
        """Returns the line that is printed."""
        return f"{self.verdict:<12}  {self.of}: {self.says}"


def judge(experiment: Experiment, entry: Entry) -> list[ClaimResult]:
    """Returns the verdict on each claim of an entry.

    FAIL is a seed without a run, of an entry without claims as well, or a mean that lies elsewhere;
    INCOMPARABLE are runs on other data than the claim is about. The interval of the mean and where
    that of as many new runs is expected are told and judge nothing: few seeds make them wide, and a
    wide one would pass everything.

    Raises:
      InputError: a claim is about what no run has.
    """
    runs, plan = experiment.runs_of(entry), experiment.plan
    lacking = [seed for seed in plan.seeds if seed not in [run["seed"] for run in runs]]
    if lacking:
        says = f"lacks runs of seeds {in_words(lacking)}; run the experiment"
        return [ClaimResult(FAIL, entry.name, says)]
    about = plan.data or runs[0]["data"]["fingerprint"]
    elsewhere = {
        run["seed"]: run["data"]["fingerprint"]
        for run in runs
        if run["data"]["fingerprint"] != about
    }
    findings = []
    for metric, (low, high) in entry.claims.items():
        of = f"{entry.name}, {metric} from {low:g} to {high:g}"
        if elsewhere:
            theirs = next(iter(elsewhere.values()))
            says = (
                f"the claim is about data of the fingerprint {about[:12]}, and seeds "
                f"{in_words(list(elsewhere))} were trained on others, {theirs[:12]} the first"
            )
            findings.append(ClaimResult(INCOMPARABLE, of, says))
            continue
        values = [number(run, metric) for run in runs]
        if None in values:
            raise InputError(
                f"{experiment.folder}: {entry.name} claims {metric}, which is no number of its "
                "runs; expected the path of one, test.accuracy say"
            )
        known = [value for value in values if value is not None]
        score = metric.rpartition(".")[2]
        mean, (least, most) = statistics.mean(known), interval_of_score(known, score)
        new = prediction_interval(known, len(known), score)
        seeds = in_words([run["seed"] for run in runs])
        says = (
            f"{mean:.4f}, interval {least:.4f} to {most:.4f} of seeds {seeds}; as many new runs: "
            f"{new.low:.4f} to {new.high:.4f}"
        )
        findings.append(ClaimResult(PASS if low <= mean <= high else FAIL, of, says))
    return findings


def in_words(seeds: Sequence[int]) -> str:
    """Returns seeds in few words: '0 to 4', or '0, 2, 5'."""
    if len(seeds) > 2 and list(seeds) == list(range(seeds[0], seeds[0] + len(seeds))):
        return f"{seeds[0]} to {seeds[-1]}"
    return ", ".join(map(str, seeds))
