"""The sections of README.md that are rendered from baseline.jsonl and search.jsonl."""

import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rnnjax.experiment.records import read_verified
from rnnjax.experiment.search import read_trials
from rnnjax.reporting import markdown

SEEDS = (0, 1, 2)
TABLES = {"words": "what", "subwords": "what", "moves": "30,000 subwords, each text moved by"}
"""The tables of the search, and the heads of their first columns."""


def render(folder: Path) -> dict[str, str]:
    """Returns the sections by the names of their marks."""
    search = read_trials(folder / "search.jsonl")
    baseline = read_verified(folder / "baseline.jsonl")
    runs = read_verified(folder / "runs.jsonl")
    accuracy = statistics.mean(run["test"]["accuracy"] for run in runs)
    rows = runs[0]["test"]["rows"]
    validation_rows = next(
        record["validation"]["rows"] for record in baseline if "validation" in record
    )
    best_accuracy = max(record["by_evaluation"][-1]["accuracy"] for record in search)
    return {
        "linear": baseline_table(baseline),
        "error": f"With {rows:,} rows the standard error of an accuracy of {accuracy:.3f} is "
        f"{standard_error(accuracy, rows):.3f}, but both answer the same rows.",
        "noise": f"With {validation_rows:,} rows and one seed, differences below "
        f"{standard_error(best_accuracy, validation_rows):.3f} are within the standard error.",
        **{
            name: search_table(head, [record for record in search if record["table"] == name])
            for name, head in TABLES.items()
        },
    }


def standard_error(accuracy: float, rows: int) -> float:
    """Returns the standard error of an accuracy over independent rows."""
    return math.sqrt(accuracy * (1 - accuracy) / rows)


def baseline_table(records: Sequence[dict[str, Any]]) -> str:
    """Returns the accuracies as a Markdown table, one row for each C."""
    tests = {record["C"]: record["test"]["accuracy"] for record in records if "test" in record}
    rows = []
    for strength in dict.fromkeys(record["C"] for record in records):
        accuracies = [
            record["validation"]["accuracy"]
            for record in records
            if record["C"] == strength and "validation" in record
        ]
        test = f"{tests[strength]:.4f}" if strength in tests else ""
        rows.append(
            [
                f"{strength:g}",
                *(f"{value:.4f}" for value in [*accuracies, statistics.mean(accuracies)]),
                test,
            ]
        )
    return markdown.table(["C", *(f"seed {seed}" for seed in SEEDS), "mean", "test"], rows)


def search_table(head: str, records: Sequence[dict[str, Any]]) -> str:
    """Returns the final scores of each training as a Markdown table."""
    rows = []
    for record in records:
        last = record["by_evaluation"][-1]
        scores = (f"{last[name]:.4f}" for name in ("accuracy", "loss"))
        rows.append([record["what"], f"{last['epoch']:g}", *scores])
    return markdown.table([head, "epochs", "validation accuracy", "loss"], rows)
