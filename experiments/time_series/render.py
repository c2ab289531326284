"""The section of README.md that is rendered from baseline.jsonl."""

from pathlib import Path

from rnnjax.experiment.records import read_verified
from rnnjax.reporting import markdown


def render(folder: Path) -> dict[str, str]:
    """Returns the section by the name of its mark."""
    rows = [
        [row["data"], row["classifier"], f"{row['test']['accuracy']:.4f}"]
        for row in read_verified(folder / "baseline.jsonl")
    ]
    return {"baselines": markdown.table(["data", "classifier", "test accuracy"], rows)}
