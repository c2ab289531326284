"""Claims about the mean over seeds: recorded with the runs, and checked against them."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rnnjax.errors import InputError
from rnnjax.experiment.plan import Entry, Experiment
from rnnjax.experiment.records import number, read_verified, write_records
from rnnjax.reporting.statistics import mean_interval, prediction_interval

PASS, FAIL, INCOMPARABLE, UNCHECKED = VERDICTS = ("PASS", "FAIL", "INCOMPARABLE", "UNCHECKED")


class ClaimResult(NamedTuple):
    """Result of one check: the verdict, its subject, and the reason."""

    verdict: str
    subject: str
    message: str

    def __str__(self) -> str:
        """Returns the line that is printed."""
        return f"{self.verdict:<12}  {self.subject}: {self.message}"


def seal_claims(experiment: Experiment, reason: str) -> list[str]:
    """Rewrites the records of entries whose claims have changed; returns the names of the entries.

    Args:
      experiment: with the new claims.
      reason: why they were changed, which is recorded as well.

    Raises:
      InputError: a record is damaged, or cannot be written.
    """
    entries = {
        entry.name: entry for entry in experiment.plan.entry if _runs_by_claims(experiment, entry)
    }
    if entries:
        records = read_verified(experiment.records)
        for run in records:
            if run["name"] in entries:
                run |= {"claims": entries[run["name"]].claims, "claims_reason": reason}
        write_records(experiment.records, records)
    return list(entries)


def check_seal(experiment: Experiment, entry: Entry) -> list[ClaimResult]:
    """Checks that an entry's claims are those that its runs were recorded with.

    The digest of a record covers run, config and claims: a range that was moved after the run fails
    until the change is recorded with a reason.
    """
    subject = f"{experiment.records}, {entry.name}"
    if changed := _runs_by_claims(experiment, entry):
        recorded = "; ".join(f"{claims} of seeds {seeds}" for claims, seeds in changed.items())
        message = (
            f"claims {_describe(entry.claims)}, and recorded is {recorded}; bring it back, or "
            f"record the change: python -m rnnjax.experiment {experiment.name} --seal=REASON"
        )
        return [ClaimResult(FAIL, subject, message)]
    if not entry.claims:
        return []
    reasons = dict.fromkeys(run.get("claims_reason") for run in experiment.runs_of(entry))
    reason = "".join(f": {reason}" for reason in reasons if reason)
    return [ClaimResult(PASS, subject, f"the claims are as recorded with the runs{reason}")]


def _runs_by_claims(experiment: Experiment, entry: Entry) -> dict[str, str]:
    """Returns the seeds of runs that were recorded with other claims, by these claims."""
    changed: dict[str, list[int]] = {}
    for run in experiment.runs_of(entry):
        claims = {metric: tuple(ends) for metric, ends in run.get("claims", {}).items()}
        if claims != entry.claims:
            changed.setdefault(_describe(claims), []).append(run["seed"])
    return {claims: format_seeds(seeds) for claims, seeds in changed.items()}


def _describe(claims: Mapping[str, Sequence[Any]]) -> str:
    parts = (f"{metric} from {low:g} to {high:g}" for metric, (low, high) in claims.items())
    return ", ".join(parts) or "nothing"


def evaluate_claims(experiment: Experiment, entry: Entry) -> list[ClaimResult]:
    """Evaluates the claims of an entry.

    FAIL is a missing seed, of an entry without claims as well, or a mean outside the claimed range;
    INCOMPARABLE are runs on other data. The confidence interval of the mean and the prediction
    interval for as many new runs are printed and decide nothing: few seeds make them wide, and a
    wide one would pass everything.

    Raises:
      InputError: a claim is about a number that no run has.
    """
    runs, plan = experiment.runs_of(entry), experiment.plan
    seeds = [run["seed"] for run in runs]
    if missing := [seed for seed in plan.seeds if seed not in seeds]:
        message = f"lacks runs of seeds {format_seeds(missing)}; run the experiment"
        return [ClaimResult(FAIL, entry.name, message)]
    fingerprint = plan.data or runs[0]["data"]["fingerprint"]
    mismatches = {
        run["seed"]: run["data"]["fingerprint"]
        for run in runs
        if run["data"]["fingerprint"] != fingerprint
    }
    results = []
    for metric, (low, high) in entry.claims.items():
        subject = f"{entry.name}, {metric} from {low:g} to {high:g}"
        if mismatches:
            message = (
                f"the claim is about data of the fingerprint {fingerprint[:12]}, and seeds "
                f"{format_seeds(list(mismatches))} were trained on others, "
                f"{next(iter(mismatches.values()))[:12]} the first"
            )
            results.append(ClaimResult(INCOMPARABLE, subject, message))
            continue
        values = [value for run in runs if (value := number(run, metric)) is not None]
        if len(values) < len(runs):
            raise InputError(
                f"{experiment.folder}: {entry.name} claims {metric}, which is no number of its "
                "runs; expected the path of one, test.accuracy say"
            )
        score, mean = metric.rpartition(".")[2], statistics.mean(values)
        interval = mean_interval(values, score)
        prediction = prediction_interval(values, len(values), score)
        message = (
            f"{mean:.4f}, interval {interval.low:.4f} to {interval.high:.4f} of seeds "
            f"{format_seeds(seeds)}; as many new runs: {prediction.low:.4f} to "
            f"{prediction.high:.4f}"
        )
        results.append(ClaimResult(PASS if low <= mean <= high else FAIL, subject, message))
    return results


def format_seeds(seeds: Sequence[int]) -> str:
    """Returns seeds as '0 to 4' or '0, 2, 5'."""
    if len(seeds) > 2 and list(seeds) == list(range(seeds[0], seeds[0] + len(seeds))):
        return f"{seeds[0]} to {seeds[-1]}"
    return ", ".join(map(str, seeds))
