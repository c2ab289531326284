"""Files that are whole or not there: text and JSON, written beside the old file and then moved.

JSON has no word for a number that is not finite, and Python's own (`NaN`, `Infinity`) breaks other
readers. Such a number is written as the string "nan", "inf" or "-inf": it stays visible that a loss
diverged, and `float` reads it back.
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
    """Returns strict JSON. NumPy and JAX scalars and arrays become numbers and lists."""
    return json.dumps(to_builtin(value), indent=indent, ensure_ascii=False, allow_nan=False)


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Writes `value` as indented JSON; a crash on the way leaves the old file as it was.

    Raises:
      InputError: it cannot be written.
    """
    write_text(path, encode_json(value, indent=2) + "\n")


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Writes `text`; a crash on the way leaves the old file as it was.

    Raises:
      InputError: it cannot be written.
    """
    path = Path(path)
    check_regular(path)
    # Not the tempfile module: its files are readable by their owner alone and would stay so. The
    # name is short, because that of the file may be as long as names can be.
    draft = path.with_name(f"{_DRAFT}{secrets.token_hex(8)}")
    try:
        # A text taken from the wild may hold half a surrogate pair, which UTF-8 cannot.
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
    """Returns whether a file is one of `write_text` that a process was killed over."""
    named = re.fullmatch(rf"{re.escape(_DRAFT)}[0-9a-f]{{16}}", path.name)
    return bool(named) and path.is_file() and not path.is_symlink()


def check_regular(path: Path) -> None:
    """Raises InputError if a name is taken by a symbolic link, a folder or a device."""
    try:
        mode = path.lstat().st_mode
    except OSError:  # there is nothing, or opening it will say what is wrong
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
    """Opens a regular file for `open(..., opener=open_no_follow)`, and follows no symbolic link.

    Raises:
      InputError: something else has the name.
    """
    check_regular(Path(path))
    return os.open(path, flags | os.O_NOFOLLOW, 0o666)


def lock_file(path: Path) -> IO[str]:
    """Opens a file, made if it is not there, and locks it until it is closed or the process ends.

    Raises:
      BlockingIOError: another process has locked it.
      OSError: it cannot be opened or locked.
      InputError: it is no regular file.
    """
    with contextlib.ExitStack() as closing:
        lock = closing.enter_context(open(path, "a", opener=open_no_follow, encoding="utf-8"))
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        closing.pop_all()
    return lock


def unwritable(path: Path, error: OSError) -> InputError:
    """Returns the refusal of a file that could not be written, with cause and remedy."""
    cause, remedy = explain(error)
    return InputError(
        f"{path}: could not be written ({cause}); {remedy}, then repeat the command: it goes on "
        "from what is there"
    )


def to_builtin(value: Any) -> Any:
    """Returns a value as JSON has it: NumPy and JAX scalars and arrays as numbers and lists.

    Half a surrogate pair, which a path may hold, is written as its escape sequence.
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
