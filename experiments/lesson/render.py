"""The part of README.md that is rendered from the notebook: its text, code, tables and pictures."""

import base64
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rnnjax.errors import InputError

NOTEBOOK, PICTURES = "lesson.ipynb", "lesson_files"


def render(folder: Path) -> dict[str, str]:
    """Returns the part by the name of its mark.

    Raises:
      InputError: a file of a picture is missing, or not that of the notebook.
    """
    notebook = read_notebook(folder)
    for name, content in pictures(notebook).items():
        path = folder / PICTURES / name
        if not path.exists() or path.read_bytes() != content:
            raise InputError(
                f"{path}: is not the picture of {NOTEBOOK}; `python experiments/lesson/execute.py "
                "--render` writes it"
            )
    cells = [text for cell in notebook["cells"] for text in _cell_texts(cell)]
    title, _, first = cells[0].partition("\n")  # the page has a title of its own
    assert title.startswith("# ")
    return {"notebook": "\n\n".join([first.strip(), *cells[1:]])}


def read_notebook(folder: Path) -> dict[str, Any]:
    """Reads the notebook of a folder."""
    return json.loads((folder / NOTEBOOK).read_text(encoding="utf-8"))


def pictures(notebook: Mapping[str, Any]) -> dict[str, bytes]:
    """Returns the pictures among the outputs, by the names of their files."""
    return {
        _picture_name(cell): base64.b64decode(output["data"]["image/png"])
        for cell in notebook["cells"]
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    }


def _picture_name(cell: Mapping[str, Any]) -> str:
    return f"{cell['id']}.png"


def _text(lines: Any) -> str:
    """Returns a text that a notebook may have as a list of lines."""
    return lines if isinstance(lines, str) else "".join(lines)


def _cell_texts(cell: Mapping[str, Any]) -> Iterator[str]:
    source = _text(cell["source"])
    if cell["cell_type"] == "markdown":
        yield source
        return
    yield f"```python\n{source}\n```"
    for output in cell["outputs"]:
        data = output.get("data", {})
        if output["output_type"] == "stream":
            yield f"```text\n{_text(output['text']).rstrip()}\n```"
        elif "image/png" in data:
            yield f"![{_text(data['text/plain'])}]({PICTURES}/{_picture_name(cell)})"
        elif "text/markdown" in data:
            yield _text(data["text/markdown"])
        else:
            yield f"```text\n{_text(data['text/plain'])}\n```"
