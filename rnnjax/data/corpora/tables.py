"""Tables with named columns: CSV, TSV, JSON Lines and Parquet files, or folders of them."""

import contextlib
import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rnnjax.data.text_lines import TextLines
from rnnjax.errors import InputError
from rnnjax.input_files import MAX_LINE, open_regular, parse_json, reading

if TYPE_CHECKING:
    from pyarrow import parquet

SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")
_DELIMITERS = {".csv": ",", ".tsv": "\t"}


class Place(NamedTuple):
    """The place of a row, as text 'train.csv, line 3', and where the next row begins.

    Attributes:
      path: of the file.
      file: its number among those of the table, from 0.
      number: of the first line of the row; of Parquet, of the row; from 1.
      last: of the last line of the row.
      end: units of the file up to the end of the row: bytes; of Parquet, rows.
    """

    path: Path
    file: int = 0
    number: int = 0
    last: int = 0
    end: int = 0

    def __str__(self) -> str:
        return f"{self.path}, {'row' if self.path.suffix == '.parquet' else 'line'} {self.number}"


class TableRow(NamedTuple):
    """The values of a row, and the place it comes from."""

    values: tuple[Any, ...]
    place: Place


def read_rows(
    path: Path, columns: Sequence[str], after: Sequence[int] = (0, 0, 0, 0)
) -> Iterator[TableRow]:
    """Yields the values of some columns, row by row.

    Args:
      path: a file, or a folder whose files of these suffixes are read in the order of their names.
      columns: names in the header, fields of JSON objects, or columns of Parquet.
      after: the numbers of the `Place` of the row before the first one to read.

    Raises:
      InputError: a file is missing or damaged, or lacks a column. The message names file and line.
    """
    for number, file in enumerate(list_files(path)):
        if number >= after[0]:
            place = Place(file, number, *(after[1:] if number == after[0] else ()))
            yield from _read_file(place, columns)


def count_units(path: Path) -> list[int]:
    """Returns the units of each file of a table that `Place.end` counts.

    Raises:
      InputError: a file is missing or damaged.
    """
    return [
        _read_footer(file).metadata.num_rows if file.suffix == ".parquet" else file.stat().st_size
        for file in list_files(path)
    ]


def list_files(path: Path) -> list[Path]:
    """Returns the files of a table, as for `read_rows`.

    Raises:
      InputError: a folder has none.
    """
    with reading(path):
        if not path.is_dir():
            return [path]
    files = sorted(file for file in path.iterdir() if file.suffix in SUFFIXES)
    if not files:
        raise InputError(f"{path}: has no file that ends in {', '.join(SUFFIXES)}; name another")
    return files


def _read_file(after: Place, columns: Sequence[str]) -> Iterator[TableRow]:
    path = after.path
    if path.suffix in _DELIMITERS:
        return _read_delimited(after, columns, _DELIMITERS[path.suffix])
    if path.suffix == ".jsonl":
        return _read_json_lines(after, columns)
    if path.suffix == ".parquet":
        return _read_parquet(after, columns)
    raise InputError(
        f"{path}: given the suffix {path.suffix!r}, expected one of {', '.join(SUFFIXES)}: rename "
        "the file by its format"
    )


def _read_delimited(after: Place, columns: Sequence[str], delimiter: str) -> Iterator[TableRow]:
    # The limit belongs to the whole process, and its default refuses long texts.
    csv.field_size_limit(MAX_LINE)
    path = after.path
    lines = TextLines(path, newline="")
    try:
        header = next(csv.reader(lines, delimiter=delimiter, strict=True), [])
        indices = [_index(path, header, column) for column in columns]
        if after.end:
            lines = TextLines(path, "", after.last, after.end)
        start = lines.number + 1
        for fields in csv.reader(lines, delimiter=delimiter, strict=True):
            if len(fields) != len(header):
                if fields:
                    raise InputError(
                        f"{path}, line {start}: has {len(fields)} columns, and the header has "
                        f"{len(header)}: mend the row (a text that holds the delimiter is put in "
                        "quotes)"
                    )
            else:
                values = tuple(fields[index] for index in indices)
                yield TableRow(values, Place(path, after.file, start, lines.number, lines.end))
            start = lines.number + 1
    except csv.Error as error:
        raise InputError(
            f"{path}, line {lines.number}: {error}; a field that holds delimiters, quotes or "
            "line breaks is put in quotes, and a quote in it is doubled: mend the row"
        ) from None


def _index(path: Path, header: Sequence[str], column: str) -> int:
    if header.count(column) == 1:
        return header.index(column)
    if column in header:
        raise InputError(f"{path}, line 1: the header names {column!r} twice; rename one of them")
    raise _missing_column(f"{path}, line 1", header, column)


def _read_json_lines(after: Place, columns: Sequence[str]) -> Iterator[TableRow]:
    lines = TextLines(after.path, "\n", after.last, after.end)
    for line in lines:
        if not line.strip():
            continue
        place = after._replace(number=lines.number, last=lines.number, end=lines.end)
        try:
            row = parse_json(line)
        except ValueError as error:
            raise InputError(f"{place}: is no JSON ({error}); mend the line") from None
        if not isinstance(row, Mapping):
            raise InputError(f"{place}: given {type(row).__name__}, expected an object; mend it")
        for column in columns:
            if column not in row:
                raise _missing_column(str(place), list(row), column)
        yield TableRow(tuple(row[column] for column in columns), place)


def _read_parquet(after: Place, columns: Sequence[str]) -> Iterator[TableRow]:
    path = after.path
    file = _read_footer(path)
    for column in columns:
        if column not in file.schema_arrow.names:
            raise _missing_column(str(path), file.schema_arrow.names, column)
    number, skipped = 0, after.end
    with _reading_parquet(path):
        for group in range(file.num_row_groups):
            if number + file.metadata.row_group(group).num_rows <= skipped:
                number += file.metadata.row_group(group).num_rows
                continue
            for batch in file.iter_batches(row_groups=[group], columns=list(columns)):
                for row in zip(*(batch.column(name).to_pylist() for name in columns), strict=True):
                    number += 1
                    if number > skipped:
                        yield TableRow(row, Place(path, after.file, number, number, number))


def _read_footer(path: Path) -> "parquet.ParquetFile":
    from pyarrow import parquet

    with _reading_parquet(path):
        open_regular(path).close()  # pyarrow would wait for the writer of a pipe
        return parquet.ParquetFile(path)


@contextlib.contextmanager
def _reading_parquet(path: Path) -> Iterator[None]:
    from pyarrow import ArrowException

    with reading(path):
        try:
            yield
        except ArrowException as error:
            reason = str(error).splitlines()[0]
            raise InputError(f"{path}: is no Parquet file, or damaged ({reason})") from None


def _missing_column(place: str, names: Sequence[str], column: str) -> InputError:
    listed = ", ".join(map(repr, names[:30])) or "none"
    return InputError(
        f"{place}: has no column {column!r}; its columns are {listed}: set the keys of the config "
        "that name columns (config.data.label, say) to those of the file"
    )
