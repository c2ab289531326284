"""Pages in Markdown of which parts, each between two marks, are rendered."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from rnnjax.errors import InputError
from rnnjax.input_files import load_text


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns a table of texts."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def begin(name: str) -> str:
    """Returns the mark before a part."""
    return f"<!-- {name}: begin -->"


def end(name: str) -> str:
    """Returns the mark after a part."""
    return f"<!-- {name}: end -->"


def read(path: Path, part: str = "runs") -> str:
    """Returns the text of a page.

    Args:
      path: of the page.
      part: that it should have, for the message.

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


def filled(path: Path, parts: Mapping[str, str]) -> str:
    """Returns the text of a page with each part between its marks.

    Args:
      path: of the page.
      parts: texts by the names that the marks have: `<!-- runs: begin -->`, `<!-- runs: end -->`.

    Raises:
      InputError: the page cannot be read, or has not these marks once, in this order.
    """
    text = read(path, *list(parts)[:1])
    for name, part in parts.items():
        first, last = begin(name), end(name)
        if text.count(first) != 1 or text.count(last) != 1:
            raise InputError(f"{path}: expected one line {first} and one line {last}")
        before, rest = text.split(first)
        if last not in rest:
            raise InputError(f"{path}: the line {last} stands before the line {first}")
        after = rest.split(last)[1]
        text = f"{before}{first}\n{part}\n{last}{after}"
    return text
