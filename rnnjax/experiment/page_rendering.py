"""Writes rendered parts into pages, and renders those of an experiment with a script.

A folder whose records are not those of `rnnjax.experiment` has a `render.py` with a function
`render(folder)`, which trains and writes nothing and returns texts by the names of their marks.
Parts named like the folder, `experiments/speed` for example, are for the pages of `SUMMARY_PAGES`
that have their marks, the others for the folder's own README.md. A name that
ends in .svg is that of a plot, and its text the description that the plot has to contain.
"""

import importlib.util
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from xml.sax.saxutils import escape

from rnnjax.errors import InputError
from rnnjax.reporting import markdown
from rnnjax.reporting.atomic_files import write_text

README = "README.md"
SUMMARY_PAGES = (Path(README), Path("configs", README), Path("experiments", README))
"""Pages in the working directory that may show a summary of an experiment."""
RENDERER = "render.py"


def experiment_name(folder: Path) -> str:
    """Returns the folder of an experiment relative to the working directory."""
    return Path(os.path.relpath(folder)).as_posix()


def find_summary_pages(folder: Path) -> list[Path]:
    """Returns the pages that have the marks of an experiment's summary; README.md if none has."""
    mark = markdown.begin(experiment_name(folder))
    pages = [page for page in SUMMARY_PAGES if page.exists() and mark in markdown.read(page)]
    return pages or [Path(README)]


def render_by_script(folder: Path) -> dict[str, str]:
    """Runs the render.py of a folder and returns its parts, none where there is no such file.

    It is code of the repository and is run: name no folder that you would not run a script of.

    Raises:
      InputError: it cannot be loaded or fails, or a record is damaged.
    """
    path = folder / RENDERER
    if not path.exists():
        return {}
    spec = importlib.util.spec_from_file_location(f"render_{folder.resolve().name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(folder.resolve()))  # for the modules beside it
    try:
        spec.loader.exec_module(module)
        return module.render(folder)
    except InputError:
        raise
    except (TypeError, ValueError, LookupError, ImportError, AttributeError) as error:
        raise InputError(f"{path}: cannot render: {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(str(folder.resolve()))


def fill_pages(folder: Path, parts: Mapping[str, str]) -> dict[Path, str]:
    """Returns the expected text of each page, without plots.

    Raises:
      InputError: a page cannot be read, or lacks the marks of a part.
    """
    by_page: dict[Path, dict[str, str]] = {}
    for name, text in parts.items():
        if not is_plot(name):
            is_summary = name == experiment_name(folder)
            for page in find_summary_pages(folder) if is_summary else [folder / README]:
                by_page.setdefault(page, {})[name] = text
    return {page: markdown.fill(page, texts) for page, texts in by_page.items()}


def write_pages(folder: Path, parts: Mapping[str, str]) -> None:
    """Renders parts into their pages.

    Raises:
      InputError: as of `fill_pages`, before anything is written.
    """
    for page, text in fill_pages(folder, parts).items():
        write_text(page, text)


def is_plot(name: str) -> bool:
    """Returns whether a part is the description of a plot."""
    return name.endswith(".svg")


def has_description(plot: Path, description: str) -> bool:
    """Returns whether a plot exists and contains a description.

    Bytes are not compared, because another version of matplotlib draws others.
    """
    if not plot.exists():
        return False
    return escape(description) in plot.read_text(encoding="utf-8", errors="replace")
