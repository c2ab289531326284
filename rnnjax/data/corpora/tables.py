"""Tables with named columns: CSV, TSV, JSON Lines and Parquet files, or folders of them."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rnnjax.errors import InputError
from rnnjax.input_files import MAX_LINE, open_text, parse_json, reading

SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")
_DELIMITERS = {".csv": ",", ".tsv": "\t"}


class TableRow(NamedTuple):
    """The values of a row, and the place it comes from: 'train.csv, line 3'."""

    values: tuple[Any, ...]
    place: str


def read_rows(path: Path, columns: Sequence[str]) -> Iterator[TableRow]:
    """Yields the values of some columns, row by row.

    Args:
      path: a file, or a folder whose files of these suffixes are read in the order of their names.
      columns: names in the header, fields of JSON objects, or columns of Parquet.

    Raises:
      InputError: a file is missing or damaged, or lacks a column. The message names file and line.
    """
    for file in list_files(path):
        yield from _read_file(file, columns)


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


def _read_file(path: Path, columns: Sequence[str]) -> Iterator[TableRow]:
    if path.suffix in _DELIMITERS:
        return _read_delimited(path, columns, _DELIMITERS[path.suffix])
    if path.suffix == ".jsonl":
        return _read_json_lines(path, columns)
    if path.suffix == ".parquet":
        return _read_parquet(path, columns)
    raise InputError(
        f"{path}: given the suffix {path.suffix!r}, expected one of {', '.join(SUFFIXES)}: rename "
        "the file by its format"
    )


def _read_delimited(path: Path, columns: Sequence[str], delimiter: str) -> Iterator[TableRow]:
    # The limit belongs to the whole process, and its default refuses long texts.
    csv.field_size_limit(MAX_LINE)
    text = open_text(path, newline="")
    reader = csv.reader(text, delimiter=delimiter, strict=True)
    try:
        header = next(reader, [])
        indices = [_index(path, header, column) for column in columns]
        start = reader.line_num + 1
        for fields in reader:
            if len(fields) != len(header):
                if fields:
                    raise InputError(
                        f"{path}, line {start}: has {len(fields)} columns, and the header has "
                        f"{len(header)}: mend the row (a text that holds the delimiter is put in "
                        "quotes)"
                    )
            else:
                values = tuple(fields[index] for index in indices)
                yield TableRow(values, f"{path}, line {start}")
            start = reader.line_num + 1
    except csv.Error as error:
        raise InputError(
            f"{path}, line {reader.line_num}: {error}; a field that holds delimiters, quotes or "
            "line breaks is put in quotes, and a quote in it is doubled: mend the row"
        ) from None


def _index(path: Path, header: Sequence[str], column: str) -> int:
    if header.count(column) == 1:
        return header.index(column)
    if column in header:
        raise InputError(f"{path}, line 1: the header names {column!r} twice; rename one of them")
    raise _missing_column(f"{path}, line 1", header, column)


def _read_json_lines(path: Path, columns: Sequence[str]) -> Iterator[TableRow]:
    text = open_text(path, newline="\n", max_line=MAX_LINE)
    for number, line in enumerate(text, start=1):
        if not line.strip():
            continue
        place = f"{path}, line {number}"
        try:
            row = parse_json(line)
        except ValueError as error:
            raise InputError(f"{place}: is no JSON ({error}); mend the line") from None
        if not isinstance(row, Mapping):
            raise InputError(f"{place}: given {type(row).__name__}, expected an object; mend it")
        for column in columns:
            if column not in row:
                raise _missing_column(place, list(row), column)
        yield TableRow(tuple(row[column] for column in columns), place)


def _read_parquet(path: Path, columns: Sequence[str]) -> Iterator[TableRow]:
    from pyarrow import ArrowException, parquet

    with reading(path):
        try:
            file = parquet.ParquetFile(path)
            for column in columns:
                if column not in file.schema_arrow.names:
                    raise _missing_column(str(path), file.schema_arrow.names, column)
            number = 0
            for batch in file.iter_batches(columns=list(columns)):
                for row in zip(*(batch.column(name).to_pylist() for name in columns), strict=True):
                    number += 1
                    yield TableRow(row, f"{path}, row {number}")
        except ArrowException as error:
            reason = str(error).splitlines()[0]
            raise InputError(f"{path}: is no Parquet file, or damaged ({reason})") from None


def _missing_column(place: str, names: Sequence[str], column: str) -> InputError:
    listed = ", ".join(map(repr, names[:30])) or "none"
    return InputError(
        f"{place}: has no column {column!r}; its columns are {listed}: set the keys of the config "
        "that name columns (config.data.label, say) to those of the file"
    )
