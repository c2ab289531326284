"""The sections of the pages that are rendered from runs.jsonl."""

from pathlib import Path

import tables
from rnnjax.experiment.page_rendering import experiment_name
from runs import Runs


def render(folder: Path) -> dict[str, str]:
    """Returns the sections by the names of their marks, and the descriptions of the plots."""
    runs = Runs(folder / "runs.jsonl")
    leads = tables.padded_torch_lead(runs), tables.text_lead(runs)
    return {
        "speed": tables.render(runs),
        "ahead": "\n\n".join(filter(None, leads)),
        experiment_name(folder): tables.newest_lesson_table(runs),
        **tables.describe_plots(runs),
    }
