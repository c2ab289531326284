"""Renders the tables of the campaign from its records."""

from pathlib import Path

import records


def render(folder: Path) -> dict[str, str]:
    """Returns the rendered parts of README.md by the names of their marks."""
    return records.tables(records.read(folder))
