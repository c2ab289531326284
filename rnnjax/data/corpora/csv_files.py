"""CSV files in the original layout of AG News: "class","title","description", no header."""

import csv
import io
import itertools
import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from rnnjax.errors import InputError
from rnnjax.input_files import MAX_LINE, read_text

AG_NEWS_CLASSES = ("World", "Sports", "Business", "Sci/Tech")

_DELIMITERS = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}
_QUOTES = "\"'`\u2018\u2019\u201c\u201d"


class CsvRow(NamedTuple):
    """A labelled text."""

    label: int
    """Counted from 0; the file counts from 1."""
    title: str
    description: str


def read_csv(path: Path, classes: Sequence[str]) -> Iterator[CsvRow]:
    """Yields the rows of a file in its order, each checked.

    Fields are quoted or not, and nothing in them is altered. Blank lines are skipped. Empty titles
    and descriptions are allowed: a text without words is still a text.

    Args:
      path: a UTF-8 file; a byte order mark at its start is no part of it.
      classes: names of the classes, in the order in which the file counts them.

    Raises:
      InputError: the file cannot be read, or a line of it is not a row. The message names the
        line. It comes with the first row if all of the file is unusable, with the row otherwise.
    """
    text = read_text(path)
    # The limit belongs to the whole process, and its default refuses long texts.
    csv.field_size_limit(MAX_LINE)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    labels = {str(number): number - 1 for number in range(1, len(classes) + 1)}
    rows = 0
    while True:
        line = reader.line_num + 1
        try:
            fields = next(reader, None)
        except csv.Error as error:
            raise _broken_row(path, line, text, error) from None
        if fields is None:
            break
        if not fields:
            continue
        if len(fields) != 3:
            _check_delimiter(path, line, text)
            raise InputError(
                f"{path}, line {line}: {len(fields)} {'column' if len(fields) == 1 else 'columns'}"
                f', beginning {fields[0][:40]!r}; expected 3, "class","title","description": '
                "mend the row (a text that holds commas is put in quotes)"
            )
        label = labels.get(fields[0])
        if label is None:
            _check_delimiter(path, line, text)
            following = None if rows else _next_label(reader)
            raise _label_error(path, line, fields[0], classes, labels, following)
        rows += 1
        yield CsvRow(label, fields[1], fields[2])
    if not rows:
        raise InputError(
            f'{path}: there are no rows; expected lines "class","title","description": give '
            "another file"
        )


def read_classes(folder: Path) -> tuple[str, ...]:
    """Reads the class names of a folder's classes.txt, one a line; AG News without one.

    Raises:
      InputError: the file names fewer than two classes, or one twice, or cannot be read.
    """
    path = folder / "classes.txt"
    if not (path.is_symlink() or path.exists()):  # a link that leads nowhere is a mistake
        return AG_NEWS_CLASSES
    # Not splitlines: it ends lines at characters that stand inside a name as well.
    lines = read_text(path, max_line=MAX_LINE).replace("\r\n", "\n").replace("\r", "\n").split("\n")
    classes = tuple(line.strip() for line in lines if line.strip())
    if len(classes) < 2 or len(set(classes)) < len(classes):
        raise InputError(
            f"{path}: given {list(classes)}; expected two or more names of classes, one a line and "
            "each once: mend the file, or delete it to use those of AG News"
        )
    return classes


def _broken_row(path: Path, line: int, text: str, error: csv.Error) -> InputError:
    if "field larger" in str(error):
        return InputError(
            f"{path}, line {line}: a field of the row that starts here is longer than {MAX_LINE:,} "
            "characters, the limit of a text; look for a quote that is opened and never closed, "
            "and mend the row"
        )
    _check_delimiter(path, line, text)
    return InputError(
        f"{path}, line {line}: broken quotes ({error}) in the row that starts here; a field that "
        "holds commas, quotes or line breaks is put in quotes, and a quote in it is doubled: mend "
        "the row"
    )


def _check_delimiter(path: Path, line: int, text: str) -> None:
    """Raises InputError if a line has three columns when it is split at another delimiter."""
    raw = next(itertools.islice(io.StringIO(text, newline=""), line - 1, None), "")
    for delimiter, name in _DELIMITERS.items():
        fields = _split(raw, delimiter)
        if len(fields) == 3 and len(_split(raw, ",")[0]) > len(fields[0]):
            code = (
                "import csv, sys; csv.writer(sys.stdout).writerows(csv.reader(sys.stdin, "
                f"delimiter={delimiter!r}))"
            )
            source, target = (shlex.quote(name) for name in (str(path), f"{path}.new"))
            raise InputError(
                f"{path}, line {line}: the columns are separated by {name}; expected commas: "
                f"convert the file (`python -c {shlex.quote(code)} < {source} > {target}`)"
            )


def _split(line: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=delimiter), []) or [""]
    except csv.Error:
        return [""]


def _next_label(lines: Iterator[list[str]]) -> str | None:
    """Returns the first field of the next row that is not blank; None if there is none."""
    try:
        return next((fields[0] for fields in lines if fields), None)
    except csv.Error:
        return None


def _label_error(
    path: Path,
    line: int,
    label: str,
    classes: Sequence[str],
    labels: dict[str, int],
    following: str | None,
) -> InputError:
    """Returns the error for an invalid label.

    Args:
      path: of the file.
      line: of the row.
      label: the invalid one.
      classes: names of the classes.
      labels: class indices by valid label.
      following: the label of the next row if this row is the first; None otherwise.
    """
    message = (
        f"{path}, line {line}: the class is {label!r}; "
        f"expected 1 to {len(classes)} ({', '.join(classes)})"
    )
    plain, number = _normalize(label)
    names = [name.casefold() for name in classes]
    if number in labels:
        return InputError(
            f"{message}, in digits alone: write {number}, in every row that is written like this"
        )
    if plain in names:
        return InputError(
            f"{message}, and a number: write {names.index(plain) + 1}, and so on in every row"
        )
    if plain == "0":
        return InputError(
            f"{message}: mend the row; if the file counts its classes from 0, add 1 to every class"
        )
    likely = following is not None and not {*_normalize(following)}.isdisjoint([*labels, *names])
    if likely and not re.search(r"\d", plain):
        return InputError(f"{message}. This looks like a header: delete the line")
    return InputError(
        f"{message}: mend the row, or name the classes in classes.txt in its folder, one a line"
    )


def _normalize(label: str) -> tuple[str, str]:
    """Normalizes a label: without quotes, spaces and capitals, and without zeros around it."""
    plain = label.strip().strip(_QUOTES).strip().casefold()
    return plain, re.sub(r"^\+?0*(\d+)(\.0*)?$", r"\1", plain)
