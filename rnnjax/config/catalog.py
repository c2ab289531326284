"""The config files of the package: their names, paths, docstrings and recorded results."""

import ast
import difflib
import os
import re
from pathlib import Path
from typing import NamedTuple

from rnnjax import paths
from rnnjax.errors import InputError

FOLDER = Path(__file__).parents[1] / "configs"
"""The configs that travel with the package; in a checkout a link to its `configs/`."""


class RecordedResult(NamedTuple):
    """Result of a config over several seeds, as its docstring states it.

    `python -m rnnjax.experiment --check` holds the docstring against the recorded runs.
    """

    metric: str
    score: str
    duration: str


_RESULT = re.compile(
    r"experiments/\w+, (?P<entry>\w+): [^:]*? test (?P<metric>[\w-]+) "
    r"(?P<score>[\d.]+(?: ± [\d.]+)?) \([^)]*\), trained in (?P<duration>[\d.]+ \w+)"
)


def config_names() -> list[str]:
    """Returns the names of the configs of the package."""
    return sorted(path.stem for path in FOLDER.glob("*.py"))


def find_config(name: str | os.PathLike[str]) -> Path:
    """Returns the path of a config.

    Args:
      name: of a config of the package, 'bilstm', or a path, which has a slash or ends in .py.

    Raises:
      InputError: there is no such config or file.
    """
    text = os.fspath(name)
    is_path = "/" in text or text.endswith(".py")
    path = Path(paths.expand(text)) if is_path else FOLDER / f"{text}.py"
    if path.exists():
        return path
    names = config_names()
    similar = difflib.get_close_matches(Path(text).stem, names, n=1, cutoff=0.7)
    hint = f"did you mean {similar[0]}? " if similar else ""
    raise InputError(
        f"config {text!r}: there is no such {'file' if is_path else 'config'}; {hint}Expected the "
        f"path of a config file, or one of {', '.join(names)}"
    )


def read_docstring(path: Path) -> str:
    """Returns the docstring of a config file, '' if it has none, without running the file.

    Raises:
      InputError: it is not Python in UTF-8.
    """
    try:
        return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    except (ValueError, SyntaxError) as error:
        raise InputError(f"{path}: is no Python file in UTF-8: {error}") from error


def recorded_result(name: str) -> RecordedResult | None:
    """Returns the result that the docstring of a config states of it; None if it states none."""
    text = " ".join(read_docstring(find_config(name)).split())
    results = {match["entry"]: match for match in _RESULT.finditer(text)}
    match = results.get(name)
    return RecordedResult(match["metric"], match["score"], match["duration"]) if match else None
