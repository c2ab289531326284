"""Executes the lesson's notebook, and renders its pictures and README.md.

    python experiments/lesson/execute.py
    python experiments/lesson/execute.py --render

The first takes some minutes and needs the extra `notebook`; without the CSV files of AG News it
reads the embedded corpus. The second renders the outputs that the notebook has.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from rnnjax.experiment.page_rendering import render_by_script, write_pages
from rnnjax.reporting.atomic_files import write_text

sys.path.insert(0, str(Path(__file__).parent))
from render import NOTEBOOK, PICTURES, pictures

FOLDER = Path("experiments/lesson")


def execute(notebook: Any, folder: Path) -> None:
    """Executes the cells of a notebook in a folder; their outputs replace those they have.

    Progress and warnings are left out, and all that differs from one execution to the next.
    """
    from nbclient import NotebookClient

    client = NotebookClient(
        notebook, timeout=900, resources={"metadata": {"path": str(folder)}}, record_timing=False
    )
    client.execute()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
            for output in cell.outputs:
                output.get("data", {}).pop("text/html", None)
    notebook.metadata.pop("widgets", None)
    notebook.metadata.language_info = {"name": "python"}


def main() -> None:
    """Executes and renders."""
    import nbformat

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--render", action="store_true", help="Execute nothing.")
    args = parser.parse_args()
    notebook = nbformat.read(FOLDER / NOTEBOOK, as_version=4)
    if not args.render:
        execute(notebook, FOLDER)
        write_text(FOLDER / NOTEBOOK, nbformat.writes(notebook) + "\n")
    (FOLDER / PICTURES).mkdir(exist_ok=True)
    files = pictures(notebook)
    for path in (FOLDER / PICTURES).iterdir():
        if path.name not in files:
            path.unlink()
    for name, content in files.items():
        (FOLDER / PICTURES / name).write_bytes(content)
    write_pages(FOLDER, render_by_script(FOLDER))


if __name__ == "__main__":
    main()
