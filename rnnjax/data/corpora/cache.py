"""Where prepared corpora are kept, as columns that are mapped into memory."""

import dataclasses
import hashlib
import itertools
import json
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from rnnjax.data.corpora.corpus import Split, TextColumn
from rnnjax.data.corpora.csv_files import Row
from rnnjax.errors import InputError
from rnnjax.files import explain
from rnnjax.reporting.progress import say

_FIELDS = ("title", "description")


@dataclasses.dataclass(frozen=True)
class Prepared:
    """Classes and parts of a corpus, fresh from its source."""

    classes: Sequence[str]
    rows: Mapping[str, Sequence[Row]]


@dataclasses.dataclass(frozen=True)
class Kept:
    """Classes and parts of a corpus, mapped from the cache."""

    classes: tuple[str, ...]
    splits: Mapping[str, Split]
    fingerprint: str


def key_of(contents: Iterable[bytes]) -> str:
    """Returns a hash of what a corpus is made of, and of the code that makes it."""
    code = (path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))
    total = hashlib.sha256()
    for content in itertools.chain(contents, code):
        total.update(hashlib.sha256(content).digest())
    return total.hexdigest()


def keep(root: Path, name: str, key: str, prepare: Callable[[Path], Prepared]) -> Kept:
    """Returns the corpus of a name and key from the cache, prepared first if it is not there.

    Several processes may do this at once. One that is killed leaves at most a folder
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
    if kept := _read(place):
        return kept
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        scratch = tempfile.TemporaryDirectory(dir=place.parent, prefix="preparing-")
    except OSError as error:
        raise _unwritable(root, error) from None
    with scratch:
        say(f"Preparing the corpus {name}: less than a minute, once. It is kept in {root}")
        columns = Path(scratch.name, "columns")
        try:
            _write(columns, prepare(Path(scratch.name)))
            _publish(columns, place)
        except (OSError, RuntimeError) as error:  # array_record's is the latter
            raise _unwritable(root, error) from error
    kept = _read(place)
    if kept is None:
        raise InputError(f"{place}: was written and cannot be read back; check the disk")
    return kept


def _write(place: Path, prepared: Prepared) -> None:
    place.mkdir()
    about = {"classes": list(prepared.classes), "rows": {}}
    digest = hashlib.sha256(json.dumps(about["classes"]).encode())
    for part, rows in sorted(prepared.rows.items()):
        about["rows"][part] = len(rows)
        digest.update(f"{part} {len(rows)}".encode())
        arrays = {"labels": np.array([row.label for row in rows], "<i4")}
        for field in _FIELDS:
            texts = [getattr(row, field).encode() for row in rows]
            ends = itertools.accumulate(map(len, texts), initial=0)
            arrays[f"{field}.offsets"] = np.fromiter(ends, "<i8", len(texts) + 1)
            arrays[f"{field}.utf8"] = np.frombuffer(b"".join(texts), np.uint8)
        for name, array in arrays.items():
            digest.update(array.tobytes())
            np.save(place / f"{part}.{name}.npy", array)
    about["fingerprint"] = digest.hexdigest()
    (place / "corpus.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def _read(place: Path) -> Kept | None:
    """Returns None for what is absent or damaged."""
    try:
        about = json.loads((place / "corpus.json").read_text(encoding="utf-8"))
        splits = {part: _split(place, part) for part in about["rows"]}
        return Kept(tuple(about["classes"]), splits, about["fingerprint"])
    except (OSError, ValueError, KeyError, EOFError):
        return None


def _split(place: Path, part: str) -> Split:
    fields = {
        field: TextColumn(
            _array(place / f"{part}.{field}.utf8.npy"),
            _array(place / f"{part}.{field}.offsets.npy"),
        )
        for field in _FIELDS
    }
    return Split(_array(place / f"{part}.labels.npy"), fields)


def _array(path: Path) -> np.ndarray:
    # A file that lost its end is refused by the mapping.
    # A plain array over the map: slices of a memmap object cost several times as much.
    return np.asarray(np.load(path, mmap_mode="r"))


def _publish(columns: Path, place: Path) -> None:
    try:
        columns.rename(place)
    except OSError:
        # Another process was first, or what is there is damaged.
        if _read(place) is None:
            place.rename(columns.with_name("damaged"))
            columns.rename(place)


def _unwritable(root: Path, error: OSError | RuntimeError) -> InputError:
    cause, remedy = explain(error)
    return InputError(
        f"the cache {root} cannot be written ({cause}); prepared corpora are kept there: {remedy}, "
        "or set the environment variable RNNJAX_CACHE to another folder"
    )
