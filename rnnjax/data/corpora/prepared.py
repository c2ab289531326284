"""Cache of prepared corpora: columns on the disk, mapped into memory."""

import dataclasses
import hashlib
import itertools
import json
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rnnjax.data.array_files import map_array
from rnnjax.data.corpora.column_files import ColumnWriter, TextColumnWriter
from rnnjax.data.corpora.corpus import CorpusSplit, TextColumn
from rnnjax.data.corpora.csv_files import CsvRow
from rnnjax.errors import InputError
from rnnjax.input_files import explain, load_text, parse_json
from rnnjax.reporting.progress import write_message

FORMAT_VERSION = 2
"""Raise it when the columns, or the rows that the same source files are read into, change."""

_COLUMNS = ("utf8", "offsets")
_GROUP_ROWS = 10_000
"""Rows that are made columns at once."""


@dataclasses.dataclass(frozen=True)
class PreparedCorpus:
    """Classes and rows of a corpus, fresh from its source."""

    classes: Sequence[str]
    rows: Mapping[str, Iterable[tuple[Any, ...]]]
    """Of each split: the class, counted from 0, and the text of each field; read once."""
    fields: Sequence[str] = CsvRow._fields[1:]


@dataclasses.dataclass(frozen=True)
class CachedCorpus:
    """Classes and splits of a corpus, mapped from the cache."""

    classes: tuple[str, ...]
    splits: Mapping[str, CorpusSplit]
    fingerprint: str


def cache_key(name: str, contents: Iterable[bytes]) -> str:
    """Returns the cache key of a corpus: a hash of its name, its contents and `FORMAT_VERSION`.

    Args:
      name: of the corpus.
      contents: whatever determines its rows: digests of source files, versions of libraries.
    """
    key = hashlib.sha256(f"{name}, format {FORMAT_VERSION}".encode())
    for content in contents:
        key.update(hashlib.sha256(content).digest())
    return key.hexdigest()


def load_or_prepare(
    root: Path, name: str, key: str, prepare: Callable[[], PreparedCorpus]
) -> CachedCorpus:
    """Loads a corpus from the cache, and prepares it first if it is absent or damaged.

    Every column is verified by the corpus's fingerprint, and damage is reported. Several processes
    may do this at once. One that is killed leaves at most a folder 'preparing-*', which nothing
    reads.

    Args:
      root: the cache's folder.
      name: of the corpus.
      key: as `cache_key` returns it.
      prepare: returns the rows.

    Raises:
      InputError: the cache cannot be written. Those of `prepare` pass.
    """
    folder = root / "corpora" / f"{name}-{key[:16]}"
    try:
        return _read(folder, key)
    except FileNotFoundError as error:
        if folder.exists():
            _warn_damaged(folder, error)
    # Damaged files raise whatever the readers of their formats happen to raise.
    except Exception as error:
        _warn_damaged(folder, error)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = tempfile.TemporaryDirectory(dir=folder.parent, prefix="preparing-")
    except OSError as error:
        raise _unwritable(root, error) from None
    with scratch:
        write_message(
            f"Preparing the corpus {name}: less than a minute, once. It is kept in {root}"
        )
        columns = Path(scratch.name, "columns")
        try:
            _write(columns, key, prepare())
            _publish(columns, folder, key)
        except OSError as error:
            raise _unwritable(root, error) from error
    try:
        return _read(folder, key)
    except Exception as error:
        raise InputError(
            f"{folder}: was written and cannot be read back ({error}); check the disk"
        ) from error


def _write(folder: Path, key: str, corpus: PreparedCorpus) -> None:
    folder.mkdir()
    fields = list(corpus.fields)
    header: dict[str, Any] = {"key": key, "classes": list(corpus.classes)}
    header |= {"fields": fields, "rows": {}}
    splits = {}
    for name, rows in sorted(corpus.rows.items()):
        labels = ColumnWriter(None, np.int32)
        texts = {field: TextColumnWriter(None, field) for field in fields}
        remaining = iter(rows)
        while group := list(itertools.islice(remaining, _GROUP_ROWS)):
            numbers, *columns = zip(*group, strict=True)
            labels.append(np.array(numbers, np.int32))
            for writer, column in zip(texts.values(), columns, strict=True):
                writer.append(TextColumn.from_texts(column))
        arrays = {"labels": labels.finish()}
        for field, writer in texts.items():
            column = writer.finish()
            arrays |= {f"{field}.offsets": column.offsets, f"{field}.utf8": column.utf8}
        for column, array in arrays.items():
            np.save(folder / f"{name}.{column}.npy", array)
        splits[name] = _split(arrays, fields)
        header["rows"][name] = len(splits[name])
    header["fingerprint"] = _fingerprint(header["classes"], splits)
    (folder / "corpus.json").write_text(json.dumps(header, indent=1) + "\n", encoding="utf-8")


def _read(folder: Path, key: str) -> CachedCorpus:
    """Maps a corpus of the cache into memory and verifies it.

    Raises:
      FileNotFoundError: it, or one of its files, is absent.
      Exception: it is damaged.
    """
    header = parse_json(load_text(folder / "corpus.json"))
    if header["key"] != key:
        raise ValueError("it was prepared from something else")
    classes, fields, splits = header["classes"], header["fields"], {}
    columns = ["labels", *(f"{field}.{column}" for field in fields for column in _COLUMNS)]
    for name, count in header["rows"].items():
        arrays = {column: map_array(folder / f"{name}.{column}.npy") for column in columns}
        splits[name] = _split(arrays, fields)
        _check_split(name, splits[name], count, len(classes))
    if _fingerprint(classes, splits) != header["fingerprint"]:
        raise ValueError("its fingerprint is not that of its columns")
    return CachedCorpus(tuple(classes), splits, header["fingerprint"])


def _split(arrays: Mapping[str, np.ndarray], fields: Sequence[str]) -> CorpusSplit:
    columns = {
        field: TextColumn(*(arrays[f"{field}.{column}"] for column in _COLUMNS)) for field in fields
    }
    return CorpusSplit(arrays["labels"], columns)


def _check_split(name: str, split: CorpusSplit, count: int, classes: int) -> None:
    """Raises ValueError unless the columns of a split fit together."""
    labels = split.labels
    if labels.dtype != np.int32 or labels.shape != (count,):
        raise ValueError(f"the labels of {name} are not {count} numbers")
    if count and not (labels.min() >= 0 and labels.max() < classes):
        raise ValueError(f"a label of {name} is not of one of the {classes} classes")
    for field, column in split.fields.items():
        utf8, offsets = column.utf8, column.offsets
        if utf8.dtype != np.uint8 or utf8.ndim != 1 or offsets.dtype != np.int64:
            raise ValueError(f"the {field} column of {name} has another type")
        ends = offsets.shape == (count + 1,) and (offsets[0], offsets[-1]) == (0, len(utf8))
        if not ends or np.any(np.diff(offsets) < 0):
            raise ValueError(f"the offsets of the {field} column of {name} do not fit its bytes")


def _fingerprint(classes: Sequence[str], splits: Mapping[str, CorpusSplit]) -> str:
    digest = hashlib.sha256(json.dumps(list(classes)).encode())
    for name, split in sorted(splits.items()):
        digest.update(f"{name} {len(split)}".encode())
        digest.update(split.labels.tobytes())
        for column in split.fields.values():
            digest.update(column.offsets.tobytes())
            digest.update(column.utf8.tobytes())
    return digest.hexdigest()


def _publish(columns: Path, folder: Path, key: str) -> None:
    try:
        columns.rename(folder)
    except OSError:
        # Another process was first, or the present folder is damaged.
        try:
            _read(folder, key)
        except Exception:
            folder.rename(columns.with_name("damaged"))
            columns.rename(folder)


def _warn_damaged(folder: Path, error: Exception) -> None:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else error
    write_message(
        f"WARNING: the prepared corpus {folder} is damaged ({reason}); it is prepared again"
    )


def _unwritable(root: Path, error: OSError) -> InputError:
    cause, remedy = explain(error)
    return InputError(
        f"the cache {root} cannot be written ({cause}); prepared corpora are kept there: {remedy}, "
        "or set the environment variable RNNJAX_CACHE to another folder"
    )
