"""The record of a run in numbers: a file with one JSON object a line."""

import hashlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rnnjax.errors import InputError
from rnnjax.files import explain, load_text, parse_json
from rnnjax.reporting.files import encode, open_no_follow, unwritable, write_text

_NOT_FINITE = {"nan": float("nan"), "inf": float("inf"), "-inf": float("-inf")}


class MetricsFile:
    """Appends lines to a metrics file; a line that `write` has returned from survives a crash."""

    def __init__(self, path: str | os.PathLike[str], mark: Mapping[str, Any] | None = None):
        """Opens the file, or makes it.

        Args:
          path: the file. A last line that a crash has left unfinished is cut off, so that the
            next one does not grow onto it.
          mark: merged into every line; says what a reader must not overlook.

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
          InputError: it cannot be written. What of it is in the file is cut off by the next to
            open it.
        """
        line = encode({**values, **self._mark}) + "\n"
        try:
            # Opened anew for each line: nothing to close, and nothing held back in a buffer.
            with open(
                self._path, "a", encoding="utf-8", newline="\n", opener=open_no_follow
            ) as file:
                file.write(line)
        except OSError as error:
            raise unwritable(self._path, error) from error


def read(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Returns the lines, numbers that are not finite included, without an unfinished last one.

    Raises:
      InputError: there is no such file, or a finished line is not a JSON object.
    """
    return [
        {
            key: _NOT_FINITE.get(value, value) if isinstance(value, str) else value
            for key, value in values.items()
        }
        for _, values in _lines(Path(path))
    ]


def truncate(
    path: str | os.PathLike[str],
    step: int,
    is_kept: Callable[[dict[str, Any]], bool] = lambda line: True,
) -> None:
    """Drops the lines that come after `step`, and an unfinished last one, in one move.

    A run that goes on from a checkpoint will write them again. Without a file nothing happens.

    Args:
      path: the file.
      step: the last one whose lines stay.
      is_kept: says of a line up to that step whether it stays.

    Raises:
      InputError: a finished line is damaged, or the file cannot be written.
    """
    path = Path(path)
    if path.exists():
        write_text(path, _text(path, step, is_kept))


def digest(
    path: str | os.PathLike[str], step: int, is_kept: Callable[[dict[str, Any]], bool]
) -> str:
    """Returns the SHA-256 of the file as `truncate` with these arguments leaves it.

    Raises:
      InputError: a finished line is damaged.
    """
    path = Path(path)
    text = _text(path, step, is_kept) if path.exists() else ""
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()


def _text(path: Path, step: int, is_kept: Callable[[dict[str, Any]], bool]) -> str:
    """Returns the lines up to a step, the first of which is 1, that are kept."""
    kept = []
    for number, (line, values) in enumerate(_lines(path), start=1):
        if type(values.get("step")) is not int or not isinstance(values.get("split"), str):
            raise _damaged(path, number, line, "a JSON object with a step and a split")
        if 0 < values["step"] <= step and is_kept(values):
            kept.append(line + "\n")
    return "".join(kept)


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
