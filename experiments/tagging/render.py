"""The section of README.md that is rendered from baseline.jsonl."""

from pathlib import Path

from rnnjax.experiment.records import read_verified
from rnnjax.reporting import markdown


def render(folder: Path) -> dict[str, str]:
    """Returns the section by the name of its mark."""
    records = read_verified(folder / "baseline.jsonl")
    tests = {row["radius"]: row["test"]["accuracy"] for row in records if "test" in row}
    rows = [
        [
            str(row["radius"]),
            f"{row['validation']['accuracy']:.4f}",
            f"{tests[row['radius']]:.4f}" if row["radius"] in tests else "",
        ]
        for row in records
        if "validation" in row
    ]
    return {"linear": markdown.table(["radius", "validation accuracy", "test accuracy"], rows)}
