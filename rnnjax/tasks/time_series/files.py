"""Series of numbers from files: `.npz`, `.npy`, `.ts` and tables with a row for each step."""

import dataclasses
import datetime
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rnnjax.data.corpora.tables import SUFFIXES, read_rows
from rnnjax.errors import InputError
from rnnjax.input_files import open_regular, reading
from rnnjax.tasks.time_series.series import SeriesTable
from rnnjax.tasks.time_series.ts_files import read_ts

_MISSING = ("", "?", "NA", "NaN", "nan")


@dataclasses.dataclass(frozen=True)
class SeriesColumns:
    """Columns of a table, or arrays of a file.

    Attributes:
      label: column or array of the labels; '' to read none.
      id: column that names the series of a row; '' for one series.
      time: column of the times; '' for none.
      channels: names of columns, or numbers of channels counted from 0, joined by '+'; '' for all.
      elapsed: whether the time since the previous step is a further channel.
    """

    label: str = ""
    id: str = ""
    time: str = ""
    channels: str = ""
    elapsed: bool = False


def read_series(path: Path, columns: SeriesColumns) -> tuple[SeriesTable, tuple[str, ...]]:
    """Reads the series of a file, and the names of their channels.

    Raises:
      InputError: it cannot be read, or is not as the columns say. The message names file, row and
        column.
    """
    if path.suffix in SUFFIXES or path.is_dir():
        return _read_table(path, columns)
    times = None
    if path.suffix == ".ts":
        table = read_ts(path, labels=bool(columns.label))
    elif path.suffix == ".npz":
        table, times = _read_npz(path, columns.label)
    elif path.suffix == ".npy":
        table = _map_npy(path, columns.label)
    else:
        raise InputError(
            f"{path}: given the suffix {path.suffix!r}, expected one of .ts, .npz, .npy, "
            f"{', '.join(SUFFIXES)}: rename the file by its format"
        )
    names = [str(number) for number in range(table.values.shape[1])]
    chosen = columns.channels.split("+") if columns.channels else names
    for name in chosen:
        if name not in names:
            raise InputError(
                f"config.time_series.channels: given {name!r}, and {path} has the channels "
                f"0 to {len(names) - 1}"
            )
    values = table.values
    if columns.channels:
        values = values[:, [names.index(name) for name in chosen]]
    return _with_elapsed(dataclasses.replace(table, values=values), times, columns, path, chosen)


def _with_elapsed(
    table: SeriesTable,
    times: np.ndarray | None,
    columns: SeriesColumns,
    path: Path,
    names: Sequence[str],
) -> tuple[SeriesTable, tuple[str, ...]]:
    """Checks that times rise within each series, and adds the elapsed time if it is wanted."""
    if times is None:
        if columns.elapsed:
            raise InputError(
                f"config.time_series.elapsed: given True, and {path} has no times; expected a "
                "column, config.time_series.time, or an array 'times' of an .npz file"
            )
        return table, tuple(names)
    elapsed = np.diff(times, prepend=times[:1])
    elapsed[table.offsets[:-1]] = 0
    is_wrong = ~(elapsed > 0)
    is_wrong[table.offsets[:-1]] = ~np.isfinite(times[table.offsets[:-1]])
    if is_wrong.any():
        raise InputError(
            f"{table.place(int(np.argmax(is_wrong)))}: the time is missing, or not after that of "
            "the step before: sort the steps of each series by their time, each once"
        )
    if columns.elapsed:
        values = np.concatenate([table.values, elapsed[:, None]], axis=1)
        return dataclasses.replace(table, values=values), (*names, "elapsed")
    return table, tuple(names)


def _read_table(path: Path, columns: SeriesColumns) -> tuple[SeriesTable, tuple[str, ...]]:
    names = columns.channels.split("+")
    if not columns.channels:
        raise InputError(
            f"config.time_series.channels: given '', and {path} is a table; expected the names of "
            "the columns with values, joined by '+'"
        )
    keys = [key for key in (columns.id, columns.time, columns.label) if key]
    values, times, labels, places = [], [], [], []
    starts, seen, latest = [], {}, None
    for row, row_place in read_rows(path, [*names, *keys]):
        place = str(row_place)
        entries = dict(zip([*names, *keys], row, strict=True))
        values.append([_number(entries[name], name, place) for name in names])
        if columns.time:
            times.append(_time(entries[columns.time], columns.time, place))
        if columns.label:
            labels.append(_label(entries[columns.label], columns.label, place))
        name = str(entries[columns.id]) if columns.id else ""
        if columns.id and entries[columns.id] in ("", None):
            raise InputError(f"{place}: {columns.id!r} is empty, expected the name of a series")
        if name != latest or not starts:
            if name in seen:
                raise InputError(
                    f"{place}: the series {name!r} began in {seen[name]}, and others are between: "
                    f"sort the rows by {columns.id!r}, and give each series another name"
                )
            seen[name] = place
            starts.append(len(values) - 1)
            latest = name
        places.append(place)
    if not values:
        raise InputError(f"{path}: there are no rows; give another file")
    kinds = {type(time) for time in times}
    if len(kinds) > 1:
        kind = type(times[0])
        row = next(number for number, time in enumerate(times) if type(time) is not kind)
        raise InputError(f"{places[row]}: {columns.time!r} mixes numbers and dates; mend the row")
    moments: Any = None
    if columns.time:
        moments = np.array([getattr(time, "timestamp", lambda t=time: t)() for time in times])
    table = SeriesTable(
        np.array(values, np.float64),
        np.array([*starts, len(values)], np.int64),
        np.array(labels, object) if columns.label else None,
        [places[start] for start in starts],
        places,
    )
    return _with_elapsed(table, moments, columns, path, names)


def _number(value: Any, name: str, place: str) -> float:
    if value is None or (isinstance(value, str) and value.strip() in _MISSING):
        return math.nan
    try:
        if isinstance(value, bool | bytes | list | dict):
            raise ValueError
        return float(value)
    except (ValueError, TypeError, OverflowError):
        raise InputError(
            f"{place}: {name!r} is {str(value)[:40]!r}, expected a number, or nothing where it is "
            "missing: mend the row, or choose other columns by config.time_series.channels"
        ) from None


def _time(value: Any, name: str, place: str) -> float | datetime.datetime:
    if isinstance(value, datetime.date):  # a datetime is one
        value = value.isoformat()
    try:
        return float(value)
    except (ValueError, TypeError):
        pass
    try:
        moment = datetime.datetime.fromisoformat(str(value))
    except ValueError:
        raise InputError(
            f"{place}: {name!r} is {str(value)[:40]!r}, expected a number or an ISO 8601 date: "
            "mend the row"
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)


def _label(value: Any, name: str, place: str) -> str:
    if value is None or value == "" or isinstance(value, list | dict | bytes):
        raise InputError(
            f"{place}: {name!r} is {str(value)[:40]!r}, expected a class or a number: mend the "
            "row, or set config.data.label to the column of the labels"
        )
    return str(value)


def _load(path: Path) -> Any:
    with reading(path), open_regular(path):
        pass
    try:
        # Not memory-mapped: the arrays of an archive may be compressed.
        return np.load(path, mmap_mode="r" if path.suffix == ".npy" else None, allow_pickle=False)
    except MemoryError:
        raise
    # Of a damaged header NumPy parses Python, which raises many other errors.
    except Exception as error:
        raise InputError(
            f"{path}: is no file of NumPy arrays, or damaged ({str(error)[:100]}); give another "
            "file"
        ) from None


def _read_npz(path: Path, label: str) -> tuple[SeriesTable, np.ndarray | None]:
    file = _load(path)
    if isinstance(file, np.ndarray):
        raise InputError(f"{path}: has one array without a name; rename the file to .npy")
    arrays = {}
    with file:
        for name in file.files:
            try:
                arrays[name] = file[name]
            except MemoryError:
                raise
            except Exception as error:  # as in `_load`
                raise InputError(
                    f"{path}: the array {name!r} cannot be read ({str(error)[:100]}); save the "
                    "file again, with numbers and strings alone"
                ) from None
    for name in ["values", *filter(None, [label])]:
        if name not in arrays:
            raise InputError(
                f"{path}: has no array {name!r}; its arrays are {', '.join(arrays) or 'none'}: "
                "save the values as 'values', and set config.data.label to the array of the labels"
            )
    values = _check_numbers(path, "values", arrays["values"])
    if values.ndim == 2:
        values = values[..., None]
    if values.ndim != 3 or not values.size:
        raise InputError(
            f"{path}: 'values' has the shape {list(values.shape)}, expected [rows, time, channels] "
            "with at least one of each"
        )
    rows, time = values.shape[:2]
    lengths = arrays.get("lengths", np.full(rows, time))
    if lengths.shape != (rows,) or not np.issubdtype(lengths.dtype, np.integer):
        raise InputError(
            f"{path}: 'lengths' has the shape {list(lengths.shape)} and dtype {lengths.dtype}, "
            f"expected a whole number for each of {rows} rows"
        )
    if np.any((lengths < 1) | (lengths > time)):
        row = int(np.argmax((lengths < 1) | (lengths > time)))
        raise InputError(
            f"{path}, row {row + 1}: the length is {lengths[row]}, expected 1 to {time} steps"
        )
    values = values.astype(np.float64)
    mask = arrays.get("mask")
    if mask is not None:
        if mask.shape != (rows, time):
            raise InputError(
                f"{path}: 'mask' has the shape {list(mask.shape)}, expected {[rows, time]}"
            )
        mask = mask.astype(bool)
        if "lengths" not in arrays:  # padding is what follows the last step of a row
            lengths = np.maximum(time - np.argmax(mask[:, ::-1], axis=1), 1) * mask.any(axis=1)
            lengths = np.maximum(lengths, 1)
        values[~mask] = math.nan
    is_step = np.arange(time) < lengths[:, None]
    labels = None
    if label:
        labels = arrays[label]
        if labels.shape not in ((rows,), (rows, time)):
            raise InputError(
                f"{path}: {label!r} has the shape {list(labels.shape)}, expected [{rows}], one for "
                f"each row, or {[rows, time]}, one for each step"
            )
        labels = labels[is_step] if labels.ndim == 2 else labels
    times = None
    if "times" in arrays:
        times = _check_numbers(path, "times", arrays["times"])
        if times.shape != (rows, time):
            raise InputError(
                f"{path}: 'times' has the shape {list(times.shape)}, expected {[rows, time]}"
            )
        times = times.astype(np.float64)[is_step]
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    places = [f"{path}, row {row + 1}" for row in range(rows)]
    return SeriesTable(values[is_step], offsets, labels, places), times


def _map_npy(path: Path, label: str) -> SeriesTable:
    if label:
        raise InputError(
            f"{path}: has no labels; expected another file, or config.time_series.output='forecast'"
        )
    values = _load(path)
    if not isinstance(values, np.ndarray):
        raise InputError(f"{path}: has several arrays; rename the file to .npz")
    values = _check_numbers(path, "the array", values)
    if values.ndim == 1:
        values = values[:, None]
    if values.ndim != 2 or not values.size:
        raise InputError(
            f"{path}: has the shape {list(values.shape)}, expected [time, channels] with at least "
            "one of each"
        )
    return SeriesTable(values, np.array([0, len(values)], np.int64), None, [str(path)])


def _check_numbers(path: Path, name: str, values: np.ndarray) -> np.ndarray:
    if not (np.issubdtype(values.dtype, np.integer) or np.issubdtype(values.dtype, np.floating)):
        raise InputError(
            f"{path}: {name!r} has the dtype {values.dtype}, expected numbers; save it again"
        )
    return values
