"""Atomic writing of text and JSON: a new file is moved into the place of the old one.

Strict JSON has only finite numbers, and Python's `NaN` and `Infinity` break many readers. Any other
number is written as the string "nan", "inf" or "-inf", which `float` reads back.
"""

import contextlib
import fcntl
import json
import math
import os
import re
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from rnnjax.errors import InputError
from rnnjax.input_files import explain

_DRAFT = ".rnnjax-draft-"


def encode_json(value: Any, indent: int | None = None) -> str:
    """Encodes strict JSON. NumPy and JAX scalars and arrays become numbers and lists."""
    return json.dumps(to_builtin(value), indent=indent, ensure_ascii=False, allow_nan=False)


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Writes indented JSON atomically: a crash leaves the old file unchanged.

    Raises:
      InputError: it cannot be written.
    """
    write_text(path, encode_json(value, indent=2) + "\n")


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Writes text atomically: a crash leaves the old file unchanged.

    Raises:
      InputError: it cannot be written.
    """
    path = Path(path)
    check_regular(path)
    # Not the tempfile module, whose files are readable by their owner alone. The name is short,
    # because that of the file may have the maximum length.
    draft = path.with_name(f"{_DRAFT}{secrets.token_hex(8)}")
    try:
        # A text may contain a lone surrogate, which UTF-8 cannot encode.
        with draft.open("x", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)


def is_draft(path: Path) -> bool:
    """Returns whether a file is a draft that a killed process has left."""
    match = re.fullmatch(rf"{re.escape(_DRAFT)}[0-9a-f]{{16}}", path.name)
    return bool(match) and path.is_file() and not path.is_symlink()


def check_regular(path: Path) -> None:
    """Raises InputError if a path is a symbolic link, a folder or a device."""
    try:
        mode = path.lstat().st_mode
    except OSError:  # no file, or an error that opening it raises again
        return
    if stat.S_ISLNK(mode):
        raise InputError(
            f"{path}: is a symbolic link, which is neither followed nor replaced; give the file it "
            "leads to, or remove the link"
        )
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "no regular file"
        raise InputError(f"{path}: is {kind}, expected a file or nothing; give another path")


def open_no_follow(path: str, flags: int) -> int:
    """Opens a regular file for `open(..., opener=open_no_follow)` without following links.

    Raises:
      InputError: the path is no regular file.
    """
    check_regular(Path(path))
    return os.open(path, flags | os.O_NOFOLLOW, 0o666)


def lock_file(path: Path) -> IO[str]:
    """Opens or creates a file, and locks it until it is closed or the process ends.

    Raises:
      BlockingIOError: another process holds the lock.
      OSError: it cannot be opened or locked.
      InputError: it is no regular file.
    """
    with contextlib.ExitStack() as closing:
        lock = closing.enter_context(open(path, "a", opener=open_no_follow, encoding="utf-8"))
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        closing.pop_all()
    return lock


def unwritable(path: Path, error: OSError) -> InputError:
    """Returns the error of a file that cannot be written, with cause and remedy."""
    cause, remedy = explain(error)
    return InputError(
        f"{path}: could not be written ({cause}); {remedy}, then repeat the command: it resumes "
        "from the existing files"
    )


def to_builtin(value: Any) -> Any:
    """Converts NumPy and JAX scalars and arrays to numbers and lists, for JSON.

    A lone surrogate, which a path may contain, becomes its escape sequence.
    """
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, Mapping):
        return {to_builtin(str(key)): to_builtin(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_builtin(item) for item in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(float(value))
    if hasattr(value, "tolist"):
        return to_builtin(value.tolist())
    return value
