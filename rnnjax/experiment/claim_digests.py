"""Claims, sealed with the config that they are about: a range moved after the runs shows.

A line of `claims.jsonl` holds what an entry claims, its config, the data, and the seeds that were
recorded when the claim was made. The last line of an entry counts; those before it are its history.
"""

from collections.abc import Mapping
from typing import Any

from rnnjax import config as config_lib
from rnnjax.config import Config
from rnnjax.experiment.claims import FAIL, PASS, ClaimResult, in_words
from rnnjax.experiment.plan import Entry, Experiment
from rnnjax.experiment.records import append, read_verified

CLAIMS = "claims.jsonl"


def seal_claims(experiment: Experiment, configs: Mapping[str, Config], why: str = "") -> list[str]:
    """Appends a line for each entry whose claims are not the sealed ones; returns their names.

    Args:
      experiment: whose claims are sealed.
      configs: of its entries, by name.
      why: the claims were changed; '' to seal only those of entries that have no line yet.

    Raises:
      InputError: the file is damaged, or cannot be written.
    """
    sealed, names = _last_lines(experiment), []
    for entry in experiment.plan.entry:
        line = sealed.get(entry.name)
        changed = _change(experiment, entry, configs[entry.name], line)
        if changed and (why or line is None):
            claims = {metric: list(ends) for metric, ends in entry.claims.items()}
            record = {
                "name": entry.name,
                "claims": claims,
                "data": experiment.plan.data,
                "config": configs[entry.name].model_dump(exclude={"seed"}),
                "seeds": [run["seed"] for run in experiment.runs_of(entry)],
                "why": why,
            }
            append(experiment.folder / CLAIMS, record)
            names.append(entry.name)
    return names


def check_seal(experiment: Experiment, entry: Entry, config: Config) -> list[ClaimResult]:
    """Returns whether an entry's claims are those that were sealed, of the same config and data."""
    line = _last_lines(experiment).get(entry.name)
    of = f"{experiment.folder / CLAIMS}, {entry.name}"
    if changed := _change(experiment, entry, config, line):
        again = f"python -m rnnjax.experiment {experiment.name} --seal=WHY"
        says = f"{changed}; bring it back, or seal the claims anew with a reason: {again}"
        return [ClaimResult(FAIL, of, says)]
    if line is None or not entry.claims:
        return []
    seeds = line["seeds"]
    when = f"after seeds {in_words(seeds)}" if seeds else "before its runs"
    why = f": {line['why']}" if line["why"] else ""
    return [ClaimResult(PASS, of, f"the claims are as sealed, {when}{why}")]


def _last_lines(experiment: Experiment) -> dict[str, dict[str, Any]]:
    return {line["name"]: line for line in read_verified(experiment.folder / CLAIMS)}


def _change(
    experiment: Experiment, entry: Entry, config: Config, line: Mapping[str, Any] | None
) -> str:
    """Returns in what a claim is not as it was sealed, '' if in nothing."""
    if line is None:
        return "the claims are not sealed" if entry.claims else ""
    before = {metric: tuple(ends) for metric, ends in line["claims"].items()}
    if before != entry.claims:
        return f"claims {_in_words(entry.claims)}, and sealed was {_in_words(before)}"
    if not entry.claims:
        return ""
    if line["data"] != experiment.plan.data:
        return "the claims were sealed of other data"
    then = config_lib.parse({**line["config"], "seed": config.seed})
    differing = config_lib.differences(config, then)
    said = "the claims were sealed of another config (now, then)"
    return f"{said}: {'; '.join(differing)}" if differing else ""


def _in_words(claims: Mapping[str, tuple[float, float]]) -> str:
    parts = (f"{metric} from {low:g} to {high:g}" for metric, (low, high) in claims.items())
    return ", ".join(parts) or "nothing"
