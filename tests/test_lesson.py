"""The lesson's notebook: it runs on a few rows, and every part has an exercise with a solution."""

import ast
import copy
import importlib.util
import re
from pathlib import Path

import nbclient
import nbformat
import pytest

from rnnjax.errors import InputError

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "experiments" / "lesson"
NOTEBOOK = nbformat.read(FOLDER / "lesson.ipynb", as_version=4)
LARGEST = 600_000
"""Bytes of the notebook with its outputs."""


@pytest.fixture(scope="module")
def render():
    spec = importlib.util.spec_from_file_location("render_lesson", FOLDER / "render.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def kinds(cell):
    """Returns the kinds of the outputs of a cell: 'image/png', 'text/markdown', 'stream'."""
    outputs = [output for output in cell.get("outputs", []) if output.get("name") != "stderr"]
    return [max(output.get("data", {output.output_type: ""})) for output in outputs]


def test_notebook_runs_on_a_few_rows(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}")
    # Plots of the kernel, and warnings of its libraries, are not under test.
    monkeypatch.setenv("PYTHONWARNINGS", "ignore")
    notebook = copy.deepcopy(NOTEBOOK)
    for cell in notebook.cells:
        if "parameters" in cell.metadata.get("tags", []):
            cell.source = 'from pathlib import Path\n\nNEWS = Path("nowhere")\nTAKE = 48'
        cell.outputs = []
    client = nbclient.NotebookClient(
        notebook, timeout=120, resources={"metadata": {"path": str(FOLDER)}}
    )
    client.execute()
    expected = [kinds(cell) for cell in NOTEBOOK.cells]
    assert [kinds(cell) for cell in notebook.cells] == expected


def test_every_part_ends_with_an_exercise_and_its_solution():
    texts = [cell.source for cell in NOTEBOOK.cells if cell.cell_type == "markdown"]
    parts = [text for text in texts if re.match(r"## \d+\. ", text)]
    exercises = [text for text in texts if text.startswith("**Exercise.**")]
    assert len(parts) == len(exercises) == 13
    for text in exercises:
        assert text.index("<details><summary>Solution</summary>") < text.index("</details>")
        for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
            ast.parse(code)
    starts = [texts.index(part) for part in parts]
    ends = [texts.index(text) for text in exercises]
    assert sorted(starts + ends) == [x for pair in zip(starts, ends, strict=True) for x in pair]


def test_outputs_are_small_and_name_no_machine():
    text = (FOLDER / "lesson.ipynb").read_text(encoding="utf-8")
    assert len(text) < LARGEST
    outputs = [output for cell in NOTEBOOK.cells for output in cell.get("outputs", [])]
    assert len(outputs) > 20
    assert not [output for output in outputs if output.get("name") == "stderr"]
    assert not re.search(r"/(root|home|tmp|work)/", text)


def test_pictures_have_texts_for_screen_readers(render):
    page = render.render(FOLDER)["notebook"]
    pictures = re.findall(r"!\[([^\]]*)\]\(lesson_files/([\w-]+\.png)\)", page)
    assert len(pictures) == len(render.pictures(NOTEBOOK)) > 10
    assert min(len(text) for text, _ in pictures) > 40


def test_a_missing_picture_is_named(render, tmp_path):
    (tmp_path / "lesson.ipynb").write_bytes((FOLDER / "lesson.ipynb").read_bytes())
    with pytest.raises(InputError, match=r"is not the picture of lesson\.ipynb"):
        render.render(tmp_path)
