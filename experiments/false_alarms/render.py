"""The sections of README.md that are rendered from rates.jsonl."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scipy import stats

from rnnjax.experiment.records import read_verified
from rnnjax.reporting import markdown
from rnnjax.reporting.statistics import ALPHA


def render(folder: Path) -> dict[str, str]:
    """Returns the sections by the names of their marks."""
    records = read_verified(folder / "rates.jsonl")
    return {"rates": table(records), "precision": precision(records[0]["cases"])}


def table(records: Sequence[dict[str, Any]]) -> str:
    """Returns the rates as a Markdown table."""
    methods = list(records[0]["rates"])
    heads = ["scores of", "seeds", *methods]
    rows = []
    for record in records:
        design = "pairs" if record["paired"] else "independent"
        rates = (record["rates"].get(method) for method in methods)
        cells = ("" if rate is None else f"{rate:.3f}" for rate in rates)
        rows.append([record["scores"], f"{record['seeds']} {design}", *cells])
    return markdown.table(heads, rows)


def precision(cases: int) -> str:
    """Returns the binomial interval of a rate over so many comparisons as text."""
    low, high = (end / cases for end in stats.binom.interval(0.95, cases, ALPHA))
    return (
        f"Each line is of {cases:,} comparisons. A rate of {ALPHA} is then measured as {low:.3f} "
        f"to {high:.3f} in 95 cases of 100."
    )
