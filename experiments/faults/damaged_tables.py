"""Trials of damaged tables of labelled text, series in .npy files, and prepared data sets."""

import ast
import contextlib
import csv
import functools
import io
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any, NamedTuple
from unittest import mock

import numpy as np

import mutations
import references
from rnnjax.config.sections import DataConfig
from rnnjax.data import array_files
from rnnjax.data.corpora import data_sets, labelled_files, labelled_rows
from rnnjax.tasks.time_series.files import SeriesColumns, read_series
from verdicts import Outcome, attempt, classify_call, classify_refusal, difference
from workspace import WORDS, Workspace

CLASSES = ("chip", "goal", "profit")
TEXTS = [f"{WORDS[n % 12]} the {WORDS[n * 5 % 12]}é" for n in range(40)]
LABELS = [list(CLASSES[: n % 4]) for n in range(40)]
UNDAMAGED, SPECIAL = "undamaged", "no regular file"


class Format(NamedTuple):
    """A format of data files.

    Attributes:
      path: of the file in its folder.
      write: makes the undamaged file in a folder.
      read: a folder, by the program.
      reference: reads a content independently; None is to be refused. Without one, the answer has
        to be that of the undamaged file.
      is_text: whether it is damaged as text.
    """

    path: str
    write: Callable[[Path], Any]
    read: Callable[[Path], Any]
    reference: Callable[[bytes], Any] | None = None
    is_text: bool = False


def _read_table(path: Path, *, several: bool = True) -> Any:
    config = DataConfig(file=str(path), text="text", label="label", multi_label=several)
    split = labelled_files.load_labelled_split(path, config, CLASSES)
    return list(zip(split.texts("text"), split.labels.tolist(), strict=True))


def _write_delimited(folder: Path) -> None:
    with (folder / "several.csv").open("w", encoding="utf-8", newline="") as file:
        rows = zip(TEXTS, map(";".join, LABELS), strict=True)
        csv.writer(file).writerows([("text", "label"), *rows])


def _delimited(content: bytes) -> Any:
    decoded = references.text(content)
    if decoded is None:
        return None
    csv.field_size_limit(10**9)
    try:
        parsed = list(csv.reader(io.StringIO(decoded, newline=""), strict=True))
    except csv.Error:
        return None
    header, rows = (parsed or [[]])[0], [row for row in parsed[1:] if row]
    if header.count("text") != 1 or header.count("label") != 1:
        return None
    if any(len(row) != len(header) for row in rows):
        return None
    columns = header.index("text"), header.index("label")
    return _checked([tuple(row[column] for column in columns) for row in rows])


def _write_json_lines(folder: Path) -> None:
    rows = zip(TEXTS, LABELS, strict=True)
    lines = [json.dumps({"text": text, "label": labels}) + "\n" for text, labels in rows]
    (folder / "several.jsonl").write_text("".join(lines), encoding="utf-8")


def _json_lines(content: bytes) -> Any:
    decoded = references.text(content)
    if decoded is None:
        return None
    try:
        values = [json.loads(line) for line in decoded.split("\n") if line.strip()]
        return _checked([(value["text"], value["label"]) for value in values])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _checked(rows: Sequence[tuple[Any, ...]]) -> Any:
    """Returns text and labels, as truth values, of rows; None if one is not valid."""
    answer = []
    for text, names in rows:
        if isinstance(names, str):
            names = [name.strip() for name in names.split(";")] if names else []
        if not isinstance(text, str) or not isinstance(names, list):
            return None
        if any(not isinstance(name, str | int) or str(name) not in CLASSES for name in names):
            return None
        answer.append((text, [name in map(str, names) for name in CLASSES]))
    return answer or None


def _write_parquet(folder: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    table = pyarrow.table({"text": TEXTS, "label": LABELS})
    parquet.write_table(table, folder / "several.parquet", row_group_size=16)


def _parquet(content: bytes) -> Any:
    from pyarrow import ArrowException, parquet

    try:
        table = parquet.read_table(io.BytesIO(content), columns=["text", "label"])
        return _checked(list(zip(*(column.to_pylist() for column in table.columns), strict=True)))
    # Names that are not UTF-8, and sizes that are not those of the file, raise others.
    except (ArrowException, OSError, UnicodeError, ValueError, TypeError):
        return None


def _write_series(folder: Path) -> None:
    np.save(folder / "series.npy", np.random.default_rng(0).normal(size=(30, 2)))


def _read_npy(path: Path) -> Any:
    values = np.asarray(read_series(path, SeriesColumns())[0].values)
    return values.dtype.str, values.shape, values.tobytes()


def _npy(content: bytes) -> Any:
    """Returns dtype, shape and bytes of a .npy file of version 1, by its specification."""
    size = int.from_bytes(content[8:10], "little")
    try:
        header = ast.literal_eval(content[10 : 10 + size].decode("latin1").strip())
        dtype, shape = np.dtype(header["descr"]), header["shape"]
        is_valid = content[:8] == b"\x93NUMPY\x01\x00" and dtype.kind in "iuf" and len(header) == 3
        if not is_valid or len(shape) not in (1, 2) or not all(side > 0 for side in shape):
            return None
        data = content[10 + size :][: int(np.prod(shape)) * dtype.itemsize]
        order = "F" if header["fortran_order"] else "C"
        values = np.frombuffer(data, dtype).reshape(shape, order=order)
    except (ValueError, SyntaxError, KeyError, TypeError, MemoryError, RecursionError):
        return None
    return dtype.str, (*shape, 1)[:2], values.tobytes()


def _write_cut_off(folder: Path) -> None:
    """Prepares a table as one larger than memory, up to its sixth piece."""
    _write_delimited(folder)
    write_piece, left = labelled_rows.write_piece, [5]

    def write_some(file: Path, arrays: Any) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        write_piece(file, arrays)

    with (
        mock.patch.object(labelled_rows, "write_piece", write_some),
        contextlib.suppress(KeyboardInterrupt),
    ):
        _read_mapped(folder)
    (piece,) = folder.rglob("rows-1.npz")
    piece.rename(folder / "piece")


def _read_mapped(folder: Path) -> Any:
    with (
        mock.patch.dict("os.environ", {"RNNJAX_CACHE": str(folder / "cache")}),
        mock.patch.object(array_files, "MAX_BYTES_IN_MEMORY", 10),
        mock.patch.object(labelled_rows, "_PIECE_ROWS", 4),
    ):
        return _read_table(folder / "several.csv")


def _resume(path: Path) -> Any:
    """Goes on with a preparation whose second piece is damaged."""
    (first,) = path.parent.rglob("rows-0.npz")
    with contextlib.suppress(FileNotFoundError):
        path.rename(first.with_name("rows-1.npz"))
    return _read_mapped(path.parent)


def _write_data_set(folder: Path) -> None:
    import tensorflow_datasets as tfds

    class Reviews(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self) -> Any:
            label = tfds.features.ClassLabel(names=list(CLASSES))
            features = tfds.features.FeaturesDict({"text": tfds.features.Text(), "label": label})
            return tfds.core.DatasetInfo(builder=self, features=features)

        def _split_generators(self, manager: Any) -> Any:
            del manager
            return {name: self._generate_examples() for name in ("train", "test")}

        def _generate_examples(self) -> Any:
            for number, text in enumerate(TEXTS):
                yield number, {"text": text, "label": number % 3}

    stream = io.StringIO()
    with contextlib.redirect_stderr(stream), contextlib.redirect_stdout(stream):
        Reviews(data_dir=folder, file_format="array_record").download_and_prepare()


def _read_data_set(path: Path) -> Any:
    folder, root = path.parents[2], path.parents[2] / "cache"
    corpus = data_sets.load_data_set("reviews", str(folder), root, ["text"], "label", 0.1)
    return corpus.classes, {
        name: list(zip(split.labels.tolist(), split.texts("text"), strict=True))
        for name, split in corpus.splits.items()
    }


_RECORDS = "reviews/1.0.0/reviews-train.array_record-00000-of-00001"
_DESCRIPTIONS = ("dataset_info.json", "features.json")
FORMATS = {
    "several labels": Format("several.csv", _write_delimited, _read_table, _delimited, True),
    "lists of labels": Format("several.jsonl", _write_json_lines, _read_table, _json_lines, True),
    "parquet": Format("several.parquet", _write_parquet, _read_table, _parquet),
    "series": Format("series.npy", _write_series, _read_npy, _npy),
    "piece": Format("piece", _write_cut_off, _resume),
    "records": Format(_RECORDS, _write_data_set, _read_data_set),
    **{
        name: Format(f"reviews/1.0.0/{name}", _write_data_set, _read_data_set, is_text=True)
        for name in _DESCRIPTIONS
    },
}


def _copy(workspace: Path, kind: str) -> Path:
    """Returns a fresh copy of the undamaged file of a format, in a copy of its folder."""
    pristine, folder = workspace / "tables" / kind, workspace / "table of a trial"
    if not pristine.exists():
        pristine.mkdir(parents=True)
        FORMATS[kind].write(pristine)
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(pristine, folder)
    return folder / FORMATS[kind].path


@functools.cache
def _answer(workspace: Path, kind: str) -> Any:
    with contextlib.redirect_stderr(io.StringIO()):
        return FORMATS[kind].read(_copy(workspace, kind))


def run_trial(workspace: Workspace, rng: Random, fault: str = "") -> Outcome:
    """Returns the verdict on a damaged file."""
    kind = rng.choice(list(FORMATS))
    if ": " in fault:
        kind, fault = fault.split(": ")
    form, answer = FORMATS[kind], _answer(workspace.folder, kind)
    faults = mutations.TEXT if form.is_text else mutations.BYTES
    fault = fault or rng.choice([*faults, SPECIAL, UNDAMAGED])
    path = _copy(workspace.folder, kind)
    damaged = content = path.read_bytes()
    if fault == SPECIAL:
        fault = mutations.special(rng, path)
    elif fault != UNDAMAGED:
        damaged = faults[fault](rng, content)
        path.write_bytes(damaged)
    expected = answer
    if form.reference:
        expected = form.reference(damaged) if path.is_file() and not path.is_symlink() else None
    call = attempt(lambda: form.read(path))
    label, names = f"{kind}: {fault}", [path.name, str(path.parent), "reviews"]
    if call.verdict == "refused" and fault == UNDAMAGED:
        return Outcome(label, "rejected", call.message)
    if not form.reference:
        return classify_call(label, call, answer, names)
    if call.verdict == "refused":
        return classify_refusal(label, call.message, names)
    if call.verdict:
        return Outcome(label, call.verdict, call.message)
    if expected is None:
        return Outcome(label, "silent", f"accepted: {str(call.value)[:200]}")
    if call.value != expected:
        return Outcome(label, "silent", difference(call.value, expected))
    return Outcome(label, "unchanged" if call.value == answer else "valid")
