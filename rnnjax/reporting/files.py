"""Files that are whole or not there: text and JSON, written beside the old file and then moved.

JSON has no word for a number that is not finite, and Python's own (`NaN`, `Infinity`) breaks other
readers. Such a number is written as the string "nan", "inf" or "-inf": it stays visible that a loss
diverged, and `float` reads it back.
"""

import contextlib
import json
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rnnjax.errors import InputError
from rnnjax.files import explain


def encode(value: Any, indent: int | None = None) -> str:
    """Returns strict JSON. NumPy and JAX scalars and arrays become numbers and lists."""
    return json.dumps(plain(value), indent=indent, ensure_ascii=False, allow_nan=False)


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Writes `value` as indented JSON; a crash on the way leaves the old file as it was.

    Raises:
      InputError: it cannot be written.
    """
    write_text(path, encode(value, indent=2) + "\n")


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Writes `text`; a crash on the way leaves the old file as it was.

    Raises:
      InputError: it cannot be written.
    """
    path = Path(path)
    # Not the tempfile module: its files are readable by their owner alone and would stay so.
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        # A text taken from the wild may hold half a surrogate pair, which UTF-8 cannot.
        with draft.open("w", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
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
    """Returns whether a file is one that a process was killed over before it was whole."""
    return bool(re.fullmatch(r"\..+\.\d+", path.name))


def unwritable(path: Path, error: OSError) -> InputError:
    """Returns the refusal of a file that could not be written, with cause and remedy."""
    cause, remedy = explain(error)
    return InputError(
        f"{path}: could not be written ({cause}); {remedy}, then repeat the command: it goes on "
        "from what is there"
    )


def plain(value: Any) -> Any:
    """Returns a value as JSON has it: NumPy and JAX scalars and arrays as numbers and lists.

    Half a surrogate pair, which a path may hold, is written as its escape sequence.
    """
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, Mapping):
        return {plain(str(key)): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(float(value))
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    return value
