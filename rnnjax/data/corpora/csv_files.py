"""CSV files in the original layout of AG News: "class","title","description", no header."""

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from rnnjax.data.corpora.files import read_text
from rnnjax.errors import InputError

AG_NEWS_CLASSES = ("World", "Sports", "Business", "Sci/Tech")


class Row(NamedTuple):
    """A labelled text."""

    label: int
    """Counted from 0; the file counts from 1."""
    title: str
    description: str


def read_csv(path: Path, classes: Sequence[str]) -> Iterator[Row]:
    """Yields the rows of a file in its order, each checked.

    Fields are quoted or not, and nothing in them is altered. Blank lines are passed over. Empty
    titles and descriptions are allowed: a text without words is still a text.

    Args:
      path: a UTF-8 file; a byte order mark at its start is no part of it.
      classes: names of the classes, in the order in which the file counts them.

    Raises:
      InputError: the file cannot be read, or a line of it is not a row. The message names the
        line. It comes with the first row if all of the file is unusable, with the row otherwise.
    """
    text = read_text(path)
    # The limit belongs to the whole process, and its default refuses long texts.
    csv.field_size_limit(max(csv.field_size_limit(), len(text)))
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    labels = {str(number): number - 1 for number in range(1, len(classes) + 1)}
    rows = 0
    while True:
        line = lines.line_num + 1
        try:
            fields = next(lines, None)
        except csv.Error as error:
            raise InputError(
                f"{path}, line {line}: broken quotes ({error}) in the row that starts here; a "
                "field that holds commas, quotes or line breaks is put in quotes, and a quote in "
                "it is doubled: mend the row"
            ) from None
        if fields is None:
            break
        if not fields:
            continue
        if len(fields) != 3:
            raise InputError(
                f"{path}, line {line}: {len(fields)} {'column' if len(fields) == 1 else 'columns'}"
                f', beginning {fields[0][:40]!r}; expected 3, "class","title","description": '
                "mend the row (a text that holds commas is put in quotes)"
            )
        label = labels.get(fields[0])
        if label is None:
            raise _label_error(path, line, fields[0], classes, first=not rows)
        rows += 1
        yield Row(label, fields[1], fields[2])
    if not rows:
        raise InputError(
            f'{path}: there are no rows; expected lines "class","title","description": give '
            "another file"
        )


def read_classes(folder: Path) -> tuple[str, ...]:
    """Returns the names in the folder's classes.txt, one a line; those of AG News without one.

    Raises:
      InputError: the file names fewer than two classes, or one twice, or cannot be read.
    """
    path = folder / "classes.txt"
    if not path.exists():
        return AG_NEWS_CLASSES
    lines = read_text(path).splitlines()
    classes = tuple(line.strip() for line in lines if line.strip())
    if len(classes) < 2 or len(set(classes)) < len(classes):
        raise InputError(
            f"{path}: given {list(classes)}; expected two or more names of classes, one a line and "
            "each once: mend the file, or delete it to use those of AG News"
        )
    return classes


def _label_error(
    path: Path, line: int, given: str, classes: Sequence[str], first: bool
) -> InputError:
    message = (
        f"{path}, line {line}: the class is {given!r}; "
        f"expected 1 to {len(classes)} ({', '.join(classes)})"
    )
    number = given.strip().lstrip("+-")
    if first and not number.isdecimal() and given not in classes:
        return InputError(f"{message}. This looks like a header: delete the line")
    return InputError(f"{message}: mend the row")
