"""Rows of labelled files, parsed piece by piece; pieces in files resume a preparation."""

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rnnjax.config.sections import DataConfig
from rnnjax.data.array_files import read_piece, write_piece
from rnnjax.data.corpora.corpus import TextColumn
from rnnjax.data.corpora.tables import TableRow, count_units, read_rows
from rnnjax.data.sequences import Indices, Sequences
from rnnjax.errors import InputError
from rnnjax.reporting.progress import Progress

_PIECE_ROWS = 20_000
"""Most rows of a piece."""
_PIECE_CHARACTERS = 16 * 2**20
"""Characters of the texts with which a piece ends."""

Arrays = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class LabelledRows:
    """Consecutive pieces of the rows of a table.

    Attributes:
      pieces: arrays, or files of them: `FIELD.utf8` and `FIELD.offsets` of each text, `labels` and
        `label_offsets`, and `state` in JSON: the names and places that the piece adds, and the
        place of its last row.
      fields: the names of the texts.
      names: of the labels, in the order of their first occurrence, by which they are numbered.
      places: where each occurs first.
      count: of the rows.
    """

    pieces: Sequence[Path | Arrays]
    fields: Sequence[str]
    names: Sequence[str]
    places: Sequence[str]
    count: int

    def __len__(self) -> int:
        return self.count

    def select(
        self, rows: Indices, fields: Sequence[str] = ()
    ) -> Iterator[tuple[Sequences, Mapping[str, TextColumn]]]:
        """Yields numbers of the labels, and texts by field, of consecutive rows.

        Args:
          rows: rising.
          fields: whose texts are read.
        """
        start = 0
        for piece in self._arrays():
            labels = Sequences(piece["labels"], piece["label_offsets"])
            ends = np.array([start, start + len(labels)], rows.dtype)  # others would copy the rows
            first, last = np.searchsorted(rows, ends)
            chosen = rows[first:last] - start
            start += len(labels)
            columns = {
                field: TextColumn(piece[f"{field}.utf8"], piece[f"{field}.offsets"])
                for field in fields
            }
            texts = {field: column.take(chosen) for field, column in columns.items()}
            yield labels.take(chosen), texts

    def _arrays(self) -> Iterator[Arrays]:
        for piece in self.pieces:
            if isinstance(piece, Path):
                with np.load(piece) as arrays:
                    yield arrays
            else:
                yield piece


def read_labelled_rows(
    path: Path, config: DataConfig, folder: Path | None, name: str
) -> LabelledRows:
    """Parses the rows of a table, in memory or to files of a folder, after those that it has.

    Args:
      path: of the table.
      config: names the columns.
      folder: for files of the pieces; None for memory.
      name: of the rows, with which the names of the files begin.

    Raises:
      InputError: a file is missing or damaged, a row has no label, a text is no string, or there
        are no rows.
    """
    fields = list(dict.fromkeys(config.text.split("+")))
    pieces: list[Path | Arrays] = []
    names: dict[str, int] = {}
    places: list[str] = []
    after, count = [0, 0, 0, 0], 0

    def add(file: Path | None, arrays: Arrays) -> None:
        nonlocal count, after
        pieces.append(file or arrays)
        state = json.loads(arrays["state"].tobytes())
        for label in state["names"]:
            names[label] = len(names)
        places.extend(state["places"])
        after, count = state["after"], count + len(arrays["label_offsets"]) - 1

    def next_file() -> Path | None:
        return folder / f"{name}-{len(pieces)}.npz" if folder else None

    while (file := next_file()) and (arrays := read_piece(file)):
        add(file, arrays)
    units = count_units(path)
    ends = np.cumsum([0, *units]).tolist()
    start = ends[after[0]] + after[-1]
    with Progress(f"read {name}", ends[-1], initial=start, unit="rows") as progress:
        for rows in _group(read_rows(path, [*fields, config.label], after)):
            arrays = _make_piece(rows, config, fields, names)
            if file := next_file():
                write_piece(file, arrays)
            add(file, arrays)
            progress.update(ends[after[0]] + after[-1], examples=len(rows))
    if not pieces:
        raise InputError(f"{path}: there are no rows; give another file")
    return LabelledRows(pieces, fields, tuple(names), places, count)


def _group(rows: Iterable[TableRow]) -> Iterator[list[TableRow]]:
    group: list[TableRow] = []
    characters = 0
    for row in rows:
        group.append(row)
        characters += sum(len(value) for value in row.values if isinstance(value, str))
        if len(group) == _PIECE_ROWS or characters >= _PIECE_CHARACTERS:
            yield group
            group, characters = [], 0
    if group:
        yield group


def _make_piece(
    rows: Sequence[TableRow], config: DataConfig, fields: Sequence[str], names: Mapping[str, int]
) -> Arrays:
    """Returns the arrays of rows, whose labels may have further names."""
    parse = _parse_labels if config.multi_label else _parse_label
    labels, lengths = [], []
    numbers, places = dict(names), []
    for values, place in rows:
        for field, value in zip(fields, values, strict=False):
            if not isinstance(value, str):
                raise InputError(
                    f"{place}: {field!r} is {value!r}, expected a text: mend the row, or set "
                    "config.data.text to columns of text"
                )
        row_labels = parse(values[-1], config, place)
        lengths.append(len(row_labels))
        for label in row_labels:
            if label not in numbers:
                numbers[label] = len(numbers)
                places.append(str(place))
            labels.append(numbers[label])
    new_names = list(numbers)[len(names) :]
    state = {"names": new_names, "places": places, "after": rows[-1].place[1:]}
    arrays = {
        "labels": np.array(labels, np.int32),
        "label_offsets": np.cumsum([0, *lengths]),
        "state": np.frombuffer(json.dumps(state).encode(), np.uint8),
    }
    for field, texts in zip(fields, zip(*(row.values for row in rows), strict=True), strict=False):
        column = TextColumn.from_texts(texts)
        arrays |= {f"{field}.utf8": column.utf8, f"{field}.offsets": column.offsets}
    return arrays


def _parse_label(value: Any, config: DataConfig, place: object) -> tuple[str]:
    if isinstance(value, list):
        raise InputError(
            f"{place}: {config.label!r} is a list of {len(value)} labels, expected one: set "
            "config.data.multi_label to True, or mend the row"
        )
    if not isinstance(value, str | int) or value == "":
        raise InputError(
            f"{place}: {config.label!r} is {value!r}, expected a class, a text or a whole number: "
            "mend the row, or set config.data.label to the column of the classes"
        )
    return (str(value),)


def _parse_labels(value: Any, config: DataConfig, place: object) -> tuple[str, ...]:
    """Returns each label once, in the order of the row."""
    if isinstance(value, str):
        value = [name.strip() for name in value.split(config.label_separator)] if value else []
    if isinstance(value, list) and all(
        isinstance(name, str | int) and name != "" for name in value
    ):
        return tuple(dict.fromkeys(map(str, value)))
    raise InputError(
        f"{place}: {config.label!r} is {value!r}, expected a list of labels, or text with "
        f"{config.label_separator!r} between them (config.data.label_separator): mend the row"
    )
