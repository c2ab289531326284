"""The parts of README.md that are rendered from rates.jsonl."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scipy import stats

from rnnjax.experiment.records import read_verified
from rnnjax.reporting import markdown
from rnnjax.reporting.statistics import ALPHA


def render(folder: Path) -> dict[str, str]:
    """Returns the parts by the names of their marks."""
    records = read_verified(folder / "rates.jsonl")
    return {"rates": table(records), "precision": precision(records[0]["cases"])}


def table(records: Sequence[dict[str, Any]]) -> str:
    """Returns the rates as a Markdown table."""
    methods = list(records[0]["rates"])
    heads = ["scores of", "seeds", *methods]
    rows = []
    for each in records:
        kind = "pairs" if each["paired"] else "independent"
        told = (each["rates"].get(method) for method in methods)
        shares = ("" if share is None else f"{share:.3f}" for share in told)
        rows.append([each["scores"], f"{each['seeds']} {kind}", *shares])
    return markdown.table(heads, rows)


def precision(cases: int) -> str:
    """Returns within which bounds a rate is measured by so many comparisons."""
    low, high = (end / cases for end in stats.binom.interval(0.95, cases, ALPHA))
    return (
        f"Each line is of {cases:,} comparisons. A rate of {ALPHA} is then measured as {low:.3f} "
        f"to {high:.3f} in 95 cases of 100."
    )
