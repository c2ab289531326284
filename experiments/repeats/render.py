"""The part of README.md that is rendered from runs.jsonl."""

from pathlib import Path
from typing import Any

from rnnjax.experiment.records import read_verified
from rnnjax.reporting import markdown


def render(folder: Path) -> dict[str, str]:
    """Returns the part by the name of its marks."""
    return {"runs": table(read_verified(folder / "runs.jsonl"))}


def table(records: list[dict[str, Any]]) -> str:
    """Returns what was found as a Markdown table."""
    heads = ["way", "beside", "parameters", "test loss, of both", "test accuracy, of both"]
    rows = []
    for each in records:
        if each["against"]:
            pair = (each["test"], each["test_of_other"])
            loss, accuracy = (
                ", ".join(f"{test[name]:.7f}" for test in pair) for name in ("loss", "accuracy")
            )
            off = f"differ, by up to {each['largest_difference']:.1e}"
            told = "**the same bits**" if each["same_bits"] else off
            rows.append([each["way"], each["against"], told, loss, accuracy])
    return markdown.table(heads, rows)
