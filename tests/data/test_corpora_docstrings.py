"""The corpus of docstrings: parsed rows, and excluded files."""

import subprocess
import sys

import pytest

from rnnjax.data.corpora import docstrings
from rnnjax.errors import InputError


@pytest.mark.parametrize(
    ("docstring", "title", "description"),
    [
        ("Return the mean.", "Return the mean.", ""),
        ("\n  Return the mean\n  of all. Then stop.\n\n  More.\n", "Return the mean of all.",
         "Then stop. More."),
        ("One thing\n\nAnother thing.", "One thing", "Another thing."),
        ("Mean.\n\nProse.\n\nParameters\n----------\nx : int", "Mean.", "Prose."),
        ("Mean.\n\nProse.\n\nArgs:\n  x: an int", "Mean.", "Prose."),
        ("Mean.\n\n>>> mean(1)\n1", "Mean.", ""),
        ("Mean.\n\n.. versionadded:: 1\n", "Mean.", ""),
        ("Mean.\n\nAn example::\n\n  mean(1)", "Mean.", ""),
        ("mean(x, axis=None) -> int\n\nMean of x.", "Mean of x.", ""),
        ("Like :func:`~jax.numpy.mean`, but ``fast`` [1]_.", "Like jax.numpy.mean, but fast.", ""),
        ("Use numpy.mean here. Now.", "Use numpy.mean here.", "Now."),
        ("Parameters\n----------\nx : int", "", ""),
        ("  \n ", "", ""),
    ],
)  # fmt: skip
def test_parse_docstring(docstring, title, description):
    assert docstrings.parse_docstring(docstring) == (title, description)


def test_long_description_is_truncated():
    title, description = docstrings.parse_docstring("Mean of all.\n\n" + "word " * 200)
    assert title == "Mean of all."
    assert len(description.split()) == docstrings.DESCRIPTION_WORDS


@pytest.fixture
def libraries(tmp_path, monkeypatch):
    """Four small libraries in place of the installed ones."""
    files = {}
    for number, name in enumerate(docstrings.CLASSES):
        path = tmp_path / f"{name}.py"
        definitions = [
            f"class A{i}:\n  'Title number {i} of {name} reads well.'\n" for i in range(200)
        ]
        path.write_text(
            f"'''The module {name} is documented.'''\n"
            + "".join(definitions)
            + f"if True:\n  def f():\n    'The SAME title is here{':.,;'[number]} everywhere'\n"
            + f"def short():\n  'Too {number}.'\n"
            + "async def undocumented(): ...\n"
        )
        (tmp_path / "broken.py").write_text("def (")
        files[name] = [path, tmp_path / "broken.py"]
    monkeypatch.setattr(docstrings, "source_files", files.__getitem__)
    return files


def test_rows_are_unique_shuffled_and_split(libraries):
    rows = docstrings.collect()
    all_rows = rows["train"] + rows["test"]
    titles = [row.title for row in all_rows]
    assert len(titles) == len(set(titles)) == 4 * 201 + 1
    assert "The module JAX is documented." in titles
    assert [row.label for row in all_rows if row.title.startswith("The SAME")] == [0]
    assert all(name in row.title for row in all_rows for name in [docstrings.CLASSES[row.label]]
               if "SAME" not in row.title)  # fmt: skip
    assert 0.06 < len(rows["test"]) / len(titles) < 0.15
    assert {row.label for row in rows["train"][:40]} == {0, 1, 2, 3}
    assert {row.label for row in rows["test"][:40]} == {0, 1, 2, 3}


def test_class_limit_moves_no_remaining_row(libraries, monkeypatch):
    uncapped = docstrings.collect()
    monkeypatch.setattr(docstrings, "ROWS_PER_CLASS", 50)
    capped = docstrings.collect()
    all_rows = capped["train"] + capped["test"]
    assert [sum(row.label == label for row in all_rows) for label in range(4)] == [50] * 4
    for split in ("train", "test"):
        assert capped[split] == [row for row in uncapped[split] if row in set(capped[split])]


def test_installation_without_sources_is_refused(libraries):
    libraries["SciPy"][:] = []
    with pytest.raises(InputError, match="installed SciPy has no source files"):
        docstrings.collect()


def test_tests_and_vendored_code_are_excluded():
    for name in docstrings.CLASSES:
        files = docstrings.source_files(name)
        assert len(files) > 50
        for path in files:
            assert not {"tests", "_vendor", "third_party", "idlelib"} & set(path.parts[-4:])
    # The standard library excludes the packages installed into it.
    assert not any("site-packages" in str(path) for path in docstrings.source_files("Python"))


def test_libraries_are_not_imported():
    code = (
        "import sys; from rnnjax.data.corpora import docstrings as d;"
        "[d.source_files(name) for name in d.CLASSES]; d.versions();"
        "print({'jax', 'scipy', 'tensorflow', 'tensorflow_datasets'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "set()\n"


def test_corpus_is_balanced_prose(tmp_path):
    rows = docstrings.collect()
    all_rows = rows["train"] + rows["test"]
    counts = [sum(row.label == label for row in all_rows) for label in range(4)]
    assert min(counts) >= 1_000
    assert max(counts) <= docstrings.ROWS_PER_CLASS
    words = [len(f"{row.title} {row.description}".split()) for row in all_rows]
    assert 15 < sum(words) / len(words) < 40
    assert not {row.title for row in rows["train"]} & {row.title for row in rows["test"]}
