"""The parts of README.md that are rendered from baseline.jsonl and search.jsonl."""

import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rnnjax.experiment.records import read_verified
from rnnjax.reporting import markdown

SEEDS = (0, 1, 2)
TABLES = {"words": "what", "subwords": "what", "moves": "30,000 subwords, each text moved by"}
"""The tables of the search, with the heads of their first columns."""


def render(folder: Path) -> dict[str, str]:
    """Returns the parts by the names of their marks."""
    found = read_verified(folder / "search.jsonl")
    baseline = read_verified(folder / "baseline.jsonl")
    runs = read_verified(folder / "runs.jsonl")
    accuracy = statistics.mean(run["test"]["accuracy"] for run in runs)
    rows = runs[0]["test"]["rows"]
    held_out = next(record["validation"]["rows"] for record in baseline if "validation" in record)
    chosen = max(line["by_evaluation"][-1]["accuracy"] for line in found)
    return {
        "linear": linear(baseline),
        "error": f"With {rows:,} rows the standard error of an accuracy of {accuracy:.3f} is "
        f"{standard_error(accuracy, rows):.3f}, but both answer the same rows.",
        "noise": f"With {held_out:,} rows and one seed, differences below "
        f"{standard_error(chosen, held_out):.3f} are within the standard error.",
        **{
            name: searched(head, [line for line in found if line["table"] == name])
            for name, head in TABLES.items()
        },
    }


def standard_error(accuracy: float, rows: int) -> float:
    """Returns the standard error of an accuracy on so many independent rows."""
    return math.sqrt(accuracy * (1 - accuracy) / rows)


def linear(records: Sequence[dict[str, Any]]) -> str:
    """Returns the accuracies as a Markdown table, a row a C."""
    tests = {record["C"]: record["test"]["accuracy"] for record in records if "test" in record}
    rows = []
    for strength in dict.fromkeys(record["C"] for record in records):
        of_strength = [record for record in records if record["C"] == strength]
        own = [each["validation"]["accuracy"] for each in of_strength if "validation" in each]
        test = f"{tests[strength]:.4f}" if strength in tests else ""
        rows.append(
            [f"{strength:g}", *(f"{each:.4f}" for each in [*own, statistics.mean(own)]), test]
        )
    return markdown.table(["C", *(f"seed {seed}" for seed in SEEDS), "mean", "test"], rows)


def searched(head: str, records: Sequence[dict[str, Any]]) -> str:
    """Returns the scores at the end of each training as a Markdown table."""
    rows = []
    for record in records:
        last = record["by_evaluation"][-1]
        scores = (f"{last[name]:.4f}" for name in ("accuracy", "loss"))
        rows.append([record["what"], f"{last['epoch']:g}", *scores])
    return markdown.table([head, "epochs", "validation accuracy", "loss"], rows)
