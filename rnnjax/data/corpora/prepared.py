"""Where prepared corpora are kept, as columns that are mapped into memory."""

import dataclasses
import hashlib
import itertools
import json
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rnnjax.data.corpora.corpus import CorpusSplit, TextColumn
from rnnjax.data.corpora.csv_files import CsvRow
from rnnjax.errors import InputError
from rnnjax.input_files import explain, load_text, open_regular, parse_json
from rnnjax.reporting.progress import write_message

_FIELDS = ("title", "description")

_COLUMNS = ("utf8", "offsets")

_FORMAT = 1
"""Of what is kept, and of how sources are read into rows: raise it when either changes."""


@dataclasses.dataclass(frozen=True)
class PreparedCorpus:
    """Classes and parts of a corpus, fresh from its source."""

    classes: Sequence[str]
    rows: Mapping[str, Sequence[CsvRow]]


@dataclasses.dataclass(frozen=True)
class CachedCorpus:
    """Classes and parts of a corpus, mapped from the cache."""

    classes: tuple[str, ...]
    splits: Mapping[str, CorpusSplit]
    fingerprint: str


def key_of(contents: Iterable[bytes]) -> str:
    """Returns a hash of what a corpus is made of, and of the format in which it is kept."""
    total = hashlib.sha256(f"format {_FORMAT}".encode())
    for content in contents:
        total.update(hashlib.sha256(content).digest())
    return total.hexdigest()


def keep(
    root: Path, name: str, key: str, prepare: Callable[[Path], PreparedCorpus]
) -> CachedCorpus:
    """Returns the corpus of a name and key from the cache, prepared first if it is not there.

    Every column is verified by the corpus's fingerprint; a damaged corpus is prepared again, which
    is said. Several processes may do this at once. One that is killed leaves at most a folder
    'preparing-*', which nothing reads.

    Args:
      root: the cache's folder.
      name: of the corpus.
      key: another key, another preparation.
      prepare: makes the corpus; it may write to the folder that it is given, which is deleted.

    Raises:
      InputError: the cache cannot be written. Those of `prepare` pass.
    """
    place = root / "corpora" / f"{name}-{key[:16]}"
    try:
        return _read(place, key)
    except FileNotFoundError as error:
        if place.exists():
            _announce(place, error)
    # Damaged files raise whatever the readers of their formats happen to raise.
    except Exception as error:
        _announce(place, error)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        scratch = tempfile.TemporaryDirectory(dir=place.parent, prefix="preparing-")
    except OSError as error:
        raise _unwritable(root, error) from None
    with scratch:
        write_message(
            f"Preparing the corpus {name}: less than a minute, once. It is kept in {root}"
        )
        columns = Path(scratch.name, "columns")
        try:
            _write(columns, key, prepare(Path(scratch.name)))
            _publish(columns, place, key)
        except (OSError, RuntimeError) as error:  # array_record's is the latter
            raise _unwritable(root, error) from error
    try:
        return _read(place, key)
    except Exception as error:
        raise InputError(
            f"{place}: was written and cannot be read back ({error}); check the disk"
        ) from error


def _write(place: Path, key: str, prepared: PreparedCorpus) -> None:
    place.mkdir()
    about: dict[str, Any] = {"key": key, "classes": list(prepared.classes), "rows": {}}
    splits = {}
    for part, rows in sorted(prepared.rows.items()):
        about["rows"][part] = len(rows)
        arrays = {"labels": np.array([row.label for row in rows], "<i4")}
        for field in _FIELDS:
            texts = [getattr(row, field).encode() for row in rows]
            ends = itertools.accumulate(map(len, texts), initial=0)
            arrays[f"{field}.offsets"] = np.fromiter(ends, "<i8", len(texts) + 1)
            arrays[f"{field}.utf8"] = np.frombuffer(b"".join(texts), np.uint8)
        for name, array in arrays.items():
            np.save(place / f"{part}.{name}.npy", array)
        splits[part] = _split(arrays)
    about["fingerprint"] = _fingerprint(about["classes"], splits)
    (place / "corpus.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def _read(place: Path, key: str) -> CachedCorpus:
    """Returns a corpus of the cache.

    Raises:
      FileNotFoundError: it is not there, or a part of it is not.
      Exception: it is damaged.
    """
    about = parse_json(load_text(place / "corpus.json"))
    if about["key"] != key:
        raise ValueError("it was prepared from something else")
    classes, splits = about["classes"], {}
    for part, count in about["rows"].items():
        names = ["labels", *(f"{field}.{kind}" for field in _FIELDS for kind in _COLUMNS)]
        arrays = {name: _array(place / f"{part}.{name}.npy") for name in names}
        splits[part] = _split(arrays)
        _check_split(part, splits[part], count, len(classes))
    if _fingerprint(classes, splits) != about["fingerprint"]:
        raise ValueError("its fingerprint is not that of its columns")
    return CachedCorpus(tuple(classes), splits, about["fingerprint"])


def _split(arrays: Mapping[str, np.ndarray]) -> CorpusSplit:
    fields = {
        field: TextColumn(*(arrays[f"{field}.{kind}"] for kind in _COLUMNS)) for field in _FIELDS
    }
    return CorpusSplit(arrays["labels"], fields)


def _check_split(part: str, split: CorpusSplit, count: int, classes: int) -> None:
    """Raises ValueError unless the columns of a split fit together."""
    labels = split.labels
    if labels.dtype != np.int32 or labels.shape != (count,):
        raise ValueError(f"the labels of {part} are not {count} numbers")
    if count and not (labels.min() >= 0 and labels.max() < classes):
        raise ValueError(f"a label of {part} is not of one of the {classes} classes")
    for name, column in split.fields.items():
        utf8, offsets = column.utf8, column.offsets
        if utf8.dtype != np.uint8 or utf8.ndim != 1 or offsets.dtype != np.int64:
            raise ValueError(f"the {name} column of {part} has another type")
        ends = offsets.shape == (count + 1,) and (offsets[0], offsets[-1]) == (0, len(utf8))
        if not ends or np.any(np.diff(offsets) < 0):
            raise ValueError(f"the offsets of the {name} column of {part} do not fit its bytes")


def _fingerprint(classes: Sequence[str], splits: Mapping[str, CorpusSplit]) -> str:
    digest = hashlib.sha256(json.dumps(list(classes)).encode())
    for part, split in sorted(splits.items()):
        digest.update(f"{part} {len(split)}".encode())
        digest.update(split.labels.tobytes())
        for field in _FIELDS:
            column = split.fields[field]
            digest.update(column.offsets.tobytes())
            digest.update(column.utf8.tobytes())
    return digest.hexdigest()


def _array(path: Path) -> np.ndarray:
    open_regular(path).close()  # NumPy would wait for the writer of a pipe
    # A file that lost its end is refused by the mapping.
    # A plain array over the map: slices of a memmap object cost several times as much.
    return np.asarray(np.load(path, mmap_mode="r"))


def _publish(columns: Path, place: Path, key: str) -> None:
    try:
        columns.rename(place)
    except OSError:
        # Another process was first, or what is there is damaged.
        try:
            _read(place, key)
        except Exception:
            place.rename(columns.with_name("damaged"))
            columns.rename(place)


def _announce(place: Path, error: Exception) -> None:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else error
    write_message(
        f"WARNING: the prepared corpus {place} is damaged ({reason}); it is prepared again"
    )


def _unwritable(root: Path, error: OSError | RuntimeError) -> InputError:
    cause, remedy = explain(error)
    return InputError(
        f"the cache {root} cannot be written ({cause}); prepared corpora are kept there: {remedy}, "
        "or set the environment variable RNNJAX_CACHE to another folder"
    )
