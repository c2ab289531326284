"""Metrics of a run: a file with one JSON object a line."""

import hashlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rnnjax.errors import InputError
from rnnjax.input_files import explain, load_text, parse_json
from rnnjax.reporting.atomic_files import encode_json, open_no_follow, unwritable, write_text

_NOT_FINITE = {"nan": float("nan"), "inf": float("inf"), "-inf": float("-inf")}


class MetricsLog:
    """Appends lines to a metrics file; a written line survives a crash."""

    def __init__(self, path: str | os.PathLike[str], mark: Mapping[str, Any] | None = None):
        """Opens or creates the file.

        Args:
          path: the file. An unfinished last line, which a crash has left, is cut off.
          mark: values merged into all lines: a warning for any reader.

        Raises:
          InputError: it cannot be written.
        """
        self._path = Path(path)
        self._mark = dict(mark or {})
        try:
            with open(self._path, "a+b", opener=open_no_follow) as file:
                file.seek(0)
                content = file.read()
                file.truncate(content.rfind(b"\n") + 1)
        except OSError as error:
            raise unwritable(self._path, error) from error

    def write(self, values: Mapping[str, Any]) -> None:
        """Appends one line. Numbers that are not finite become "nan", "inf" and "-inf".

        Raises:
          InputError: it cannot be written. A partial line is cut off when the file is next
            opened.
        """
        line = encode_json({**values, **self._mark}) + "\n"
        try:
            # Opened for each line: nothing to close, and nothing buffered.
            with open(
                self._path, "a", encoding="utf-8", newline="\n", opener=open_no_follow
            ) as file:
                file.write(line)
        except OSError as error:
            raise unwritable(self._path, error) from error


def read(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Reads the lines, without an unfinished last one; "nan" and "inf" become floats.

    Raises:
      InputError: the file is missing, or a finished line is not a JSON object.
    """
    return [
        {
            key: _NOT_FINITE.get(value, value) if isinstance(value, str) else value
            for key, value in values.items()
        }
        for _, values in _lines(Path(path))
    ]


def restore_floats(value: Any) -> Any:
    """Returns a value of a line with "nan", "inf" and "-inf" as floats, nested ones too."""
    if isinstance(value, dict):
        return {key: restore_floats(item) for key, item in value.items()}
    if isinstance(value, list):
        return [restore_floats(item) for item in value]
    return _NOT_FINITE.get(value, value) if isinstance(value, str) else value


def truncate(
    path: str | os.PathLike[str],
    step: int,
    keep_line: Callable[[dict[str, Any]], bool] = lambda line: True,
) -> None:
    """Drops lines after `step`, and an unfinished last one, atomically.

    A run that is resumed from a checkpoint writes them again. A file that is missing becomes an
    empty one: a run that is interrupted before its first line has a log too.

    Args:
      path: the file.
      step: last step whose lines remain.
      keep_line: whether a line up to that step remains.

    Raises:
      InputError: a finished line is damaged, or the file cannot be written.
    """
    write_text(Path(path), _selected_text(Path(path), step, keep_line))


def digest(
    path: str | os.PathLike[str], step: int, keep_line: Callable[[dict[str, Any]], bool]
) -> str:
    """Returns the SHA-256 of the file as `truncate` with these arguments leaves it.

    Raises:
      InputError: a finished line is damaged.
    """
    text = _selected_text(Path(path), step, keep_line)
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()


def _selected_text(path: Path, step: int, keep_line: Callable[[dict[str, Any]], bool]) -> str:
    """Returns the selected lines of the steps from 1 to `step`; '' without a file."""
    if not path.exists():
        return ""
    selected = []
    for number, (line, values) in enumerate(_lines(path), start=1):
        if type(values.get("step")) is not int or not isinstance(values.get("split"), str):
            raise _damaged(path, number, line, "a JSON object with a step and a split")
        if 0 < values["step"] <= step and keep_line(values):
            selected.append(line + "\n")
    return "".join(selected)


def _lines(path: Path) -> list[tuple[str, dict[str, Any]]]:
    try:
        content = load_text(path, errors="replace")
    except FileNotFoundError:
        raise InputError(
            f"{path} is missing; expected the metrics of a run, one JSON object a line. Is its "
            "folder that of a run that has started?"
        ) from None
    except OSError as error:
        cause, remedy = explain(error)
        raise InputError(f"{path}: cannot be read ({cause}); {remedy}") from error
    *finished, _ = content.split("\n")
    parsed = []
    for number, line in enumerate(finished, start=1):
        try:
            values = parse_json(line)
        except ValueError:
            values = None
        if not isinstance(values, dict):
            raise _damaged(path, number, line, "a JSON object")
        parsed.append((line, values))
    return parsed


def _damaged(path: Path, number: int, line: str, expected: str) -> InputError:
    return InputError(
        f"{path}, line {number}: given {line[:80]!r}, expected {expected}. Bring the file back "
        "from a copy, or train again in a new folder."
    )
