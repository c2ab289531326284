"""Markdown pages with rendered parts between marks."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from rnnjax.errors import InputError
from rnnjax.input_files import load_text


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Formats a table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def begin(name: str) -> str:
    """Returns the mark before a part."""
    return f"<!-- {name}: begin -->"


def end(name: str) -> str:
    """Returns the mark after a part."""
    return f"<!-- {name}: end -->"


def read(path: Path, part: str = "runs") -> str:
    """Reads a page.

    Args:
      path: the file.
      part: name of a part for the message.

    Raises:
      InputError: it cannot be read, or is not UTF-8.
    """
    try:
        return load_text(path)
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: is not UTF-8 ({error.reason} at byte {error.start + 1}); convert it, with "
            "iconv say"
        ) from error
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); write one that has a line "
            f"{begin(part)} and a line {end(part)}"
        ) from error


def fill(path: Path, parts: Mapping[str, str]) -> str:
    """Returns the text of a page with all parts between their marks.

    Args:
      path: the file.
      parts: texts by the names of their marks: `<!-- runs: begin -->`, `<!-- runs: end -->`.

    Raises:
      InputError: the page cannot be read, or lacks one of the two marks, or has it twice.
    """
    text = read(path, *list(parts)[:1])
    for name, part in parts.items():
        first, last = begin(name), end(name)
        if text.count(first) != 1 or text.count(last) != 1:
            raise InputError(f"{path}: expected one line {first} and one line {last}")
        prefix, rest = text.split(first)
        if last not in rest:
            raise InputError(f"{path}: the line {last} stands before the line {first}")
        text = f"{prefix}{first}\n{part}\n{last}{rest.split(last)[1]}"
    return text
