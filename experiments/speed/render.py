"""The parts of the pages that are rendered from runs.jsonl."""

from pathlib import Path

import tables
from rnnjax.experiment.page_rendering import experiment_name
from runs import Runs


def render(folder: Path) -> dict[str, str]:
    """Returns the parts by the names of their marks, and what the plots show."""
    runs = Runs(folder / "runs.jsonl")
    return {
        "speed": tables.render(runs),
        "ahead": tables.ahead(runs),
        experiment_name(folder): tables.quotation(runs),
        **tables.descriptions(runs),
    }
