"""Parts of pages that a script of the experiment renders from what it has recorded.

A folder whose records are not those of `rnnjax.experiment` has a `render.py` with a function
`render(folder)`, which trains and writes nothing and returns texts by the names of their marks.
Those named as the folder is, `experiments/speed` say, are for the README.md where the command is
typed, the others for the folder's own. A name that ends in .svg is that of a drawing, and its text
the description that the drawing has to hold.
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
RENDERER = "render.py"


def name_of(folder: Path) -> str:
    """Returns the name of an experiment: its folder, seen from where the command is typed."""
    return Path(os.path.relpath(folder)).as_posix()


def rendered_by_script(folder: Path) -> dict[str, str]:
    """Returns what the render.py of a folder renders, nothing where there is none.

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


def page_of(folder: Path, part: str) -> Path:
    """Returns the page that a part stands on."""
    return Path(README) if part == name_of(folder) else folder / README


def fill_pages(folder: Path, parts: Mapping[str, str]) -> dict[Path, str]:
    """Returns the text that each page should have, drawings left out.

    Raises:
      InputError: a page cannot be read, or has not the marks of a part.
    """
    by_page: dict[Path, dict[str, str]] = {}
    for name, text in parts.items():
        if not is_drawing(name):
            by_page.setdefault(page_of(folder, name), {})[name] = text
    return {page: markdown.filled(page, own) for page, own in by_page.items()}


def write_pages(folder: Path, parts: Mapping[str, str]) -> None:
    """Renders parts into their pages.

    Raises:
      InputError: as of `fill_pages`, before anything is written.
    """
    for page, text in fill_pages(folder, parts).items():
        write_text(page, text)


def is_drawing(name: str) -> bool:
    """Returns whether a part is the description of a drawing."""
    return name.endswith(".svg")


def shows(drawing: Path, description: str) -> bool:
    """Returns whether a drawing is there and holds a description.

    By its description, because another version of matplotlib draws other bytes.
    """
    if not drawing.exists():
        return False
    return escape(description) in drawing.read_text(encoding="utf-8", errors="replace")
