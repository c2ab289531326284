"""The model card of an exported folder."""

from collections.abc import Mapping
from typing import Any

from rnnjax.tasks.trained_run import TrainedRun


def render_card(run: TrainedRun, description: Mapping[str, Any]) -> str:
    """Returns the card, Markdown."""
    return f"# {run.folder.resolve().name}\n"
