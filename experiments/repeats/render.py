"""The section of README.md that is rendered from runs.jsonl."""

from pathlib import Path
from typing import Any

from rnnjax.experiment.records import read_verified
from rnnjax.reporting import markdown


def render(folder: Path) -> dict[str, str]:
    """Returns the section by the name of its marks."""
    return {"runs": table(read_verified(folder / "runs.jsonl"))}


def table(records: list[dict[str, Any]]) -> str:
    """Returns the comparisons as a Markdown table."""
    heads = ["way", "beside", "parameters", "test loss, of both", "test accuracy, of both"]
    rows = []
    for record in records:
        if record["against"]:
            pair = (record["test"], record["test_of_other"])
            loss, accuracy = (
                ", ".join(f"{test[name]:.7f}" for test in pair) for name in ("loss", "accuracy")
            )
            difference = f"differ, by up to {record['largest_difference']:.1e}"
            parameters = "**the same bits**" if record["same_bits"] else difference
            rows.append([record["way"], record["against"], parameters, loss, accuracy])
    return markdown.table(heads, rows)
