"""Labelled text from files with named columns."""

import array
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from rnnjax.config.sections import DataConfig
from rnnjax.data import array_files
from rnnjax.data.array_files import PIECES, digest_file, map_array, prepare_folder, read_blocks
from rnnjax.data.batches import TEST
from rnnjax.data.corpora.column_files import TextColumnWriter
from rnnjax.data.corpora.corpus import Corpus, CorpusSplit, TextColumn
from rnnjax.data.corpora.tables import list_files, read_rows
from rnnjax.data.sequences import Indices, Sequences
from rnnjax.data.splitting import stratified_split
from rnnjax.errors import InputError

FORMAT_VERSION = 1
"""Raise it when the columns of large files, or the rows of the same files, change."""

_OPTIONS = ("text", "label", "classes", "multi_label", "label_separator", "test")
"""Keys of the data section that the rows of the splits depend on, beside the files."""


class _LabelledRows(NamedTuple):
    """Rows of files.

    Attributes:
      fields: the texts.
      labels: positions in `names`, of each row, or of rows with several labels a sequence.
      names: of the labels, in the order of their first occurrence.
      places: where each occurs first.
    """

    fields: Mapping[str, TextColumn]
    labels: Sequences
    names: tuple[str, ...]
    places: tuple[str, ...]


def load_labelled_files(config: DataConfig) -> Corpus:
    """Loads the files of a data section; rows larger than memory are mapped from the cache.

    Classes are those of the training rows, whole numbers in rising order and others sorted, or
    those that `config.classes` lists. Without a test file, a share of each class of `config.file`
    is the test split, the same for every seed; of rows with several labels, a share of the rows.

    Raises:
      InputError: a file is missing or damaged, a row has no label, or one that no training row has,
        or there are too few classes.
    """
    paths = {"train": config.file, "validation": config.validation_file, "test": config.test_file}
    paths = {split: Path(path) for split, path in paths.items() if path}
    files = [file for path in paths.values() for file in list_files(path)]
    if not any(map(array_files.is_large, files)):
        classes, splits = _read_splits(paths, config, None)
        fingerprint = _fingerprint(classes, splits)
    else:
        options = [FORMAT_VERSION, *(getattr(config, name) for name in _OPTIONS)]
        sources = {split: list(map(digest_file, list_files(path))) for split, path in paths.items()}
        key = hashlib.sha256(json.dumps([options, sources]).encode()).hexdigest()

        def prepare(folder: Path) -> None:
            classes, splits = _read_splits(paths, config, folder)
            header = {"classes": classes, "fingerprint": _fingerprint(classes, splits)}
            (folder / "corpus.json").write_text(json.dumps(header), encoding="utf-8")

        folder = prepare_folder("labelled", Path(config.file).stem, key, prepare)
        header = json.loads((folder / "corpus.json").read_text(encoding="utf-8"))
        classes, fingerprint = tuple(header["classes"]), header["fingerprint"]
        names = [*paths, "test"]
        splits = {name: _map_split(folder, name, config) for name in dict.fromkeys(names)}
    return Corpus(
        name=Path(config.file).stem,
        source=f"Labelled text from {' and '.join(map(str, paths.values()))}.",
        fallback="",
        fingerprint=fingerprint,
        classes=classes,
        splits=splits,
        is_stratified=not config.multi_label,
    )


def read_split(path: Path, config: DataConfig, classes: Sequence[str]) -> CorpusSplit:
    """Reads the rows of a file, or of a folder of files, as a split.

    Raises:
      InputError: a file is missing or damaged, a text is no string, a row has no label, or one that
        is not among the classes.
    """
    rows = _read_rows(path, config, None, "rows")
    return _make_split(rows, np.arange(len(rows.labels)), config, classes, None, "rows")


def _read_splits(
    paths: Mapping[str, Path], config: DataConfig, folder: Path | None
) -> tuple[tuple[str, ...], dict[str, CorpusSplit]]:
    """Reads files as classes and splits.

    Args:
      paths: of the splits, 'train' and perhaps others.
      config: names columns and classes.
      folder: for the files of the columns; None for columns in memory.
    """
    scratch = folder / PIECES if folder else None
    if scratch:
        scratch.mkdir(exist_ok=True)
    parts = {name: _read_rows(path, config, scratch, name) for name, path in paths.items()}
    rows = {name: np.arange(len(part.labels)) for name, part in parts.items()}
    labels = parts["train"].labels
    if "test" not in parts:
        parts["test"] = parts["train"]
        strata = np.zeros(len(labels), np.int64) if config.multi_label else labels.values
        split = stratified_split(strata, config.test, TEST, key="config.data.test")
        rows["train"], rows["test"] = split
    classes = _listed_classes(config)
    if not classes:
        numbers = np.unique(labels.take(rows["train"]).values)
        classes = sort_classes(parts["train"].names[number] for number in numbers)
    if len(classes) < (1 if config.multi_label else 2):
        reason = f"every row has the class {classes[0]!r}" if classes else "no row has a label"
        raise InputError(
            f"{config.file}: {reason}; expected two or more classes: set config.data.label to the "
            "column of the classes"
        )
    splits = {
        name: _make_split(part, rows[name], config, classes, folder, name)
        for name, part in parts.items()
    }
    return classes, splits


def _read_rows(path: Path, config: DataConfig, folder: Path | None, name: str) -> _LabelledRows:
    """Reads texts and labels of each row, in memory or to files of a folder."""
    fields = list(dict.fromkeys(config.text.split("+")))
    writers = {field: TextColumnWriter(folder, f"{name}.{field}") for field in fields}
    numbers: dict[str, int] = {}
    places: list[str] = []
    labels, lengths = array.array("i"), array.array("i")
    parse = _parse_labels if config.multi_label else _parse_label
    rows = read_rows(path, [*fields, config.label])
    for values, place in tqdm(rows, f"Reading {name}", unit=" rows", disable=None):
        for writer, field, value in zip(writers.values(), fields, values, strict=False):
            if not isinstance(value, str):
                raise InputError(
                    f"{place}: {field!r} is {value!r}, expected a text: mend the row, or set "
                    "config.data.text to columns of text"
                )
            writer.append(value)
        row_labels = parse(values[-1], config, place)
        lengths.append(len(row_labels))
        for label in row_labels:
            if label not in numbers:
                numbers[label] = len(numbers)
                places.append(place)
            labels.append(numbers[label])
    if not lengths:
        raise InputError(f"{path}: there are no rows; give another file")
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    columns = {field: writer.finish() for field, writer in writers.items()}
    sequences = Sequences(np.array(labels, np.int32), offsets)
    return _LabelledRows(columns, sequences, tuple(numbers), tuple(places))


def _parse_label(value: Any, config: DataConfig, place: str) -> tuple[str]:
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


def _parse_labels(value: Any, config: DataConfig, place: str) -> tuple[str, ...]:
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


def _listed_classes(config: DataConfig) -> tuple[str, ...]:
    classes = tuple(filter(None, config.classes.split(",")))
    if len(set(classes)) < len(classes):
        twice = next(name for name in classes if classes.count(name) > 1)
        raise InputError(
            f"config.data.classes: given {twice!r} twice, expected each class once: leave it out"
        )
    return classes


def sort_classes(labels: Iterable[str]) -> tuple[str, ...]:
    """Returns each label once: whole numbers in rising order, others sorted."""
    names = set(labels)
    if all(name.removeprefix("-").isdecimal() for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))


def _make_split(
    rows: _LabelledRows,
    indices: Indices,
    config: DataConfig,
    classes: Sequence[str],
    folder: Path | None,
    name: str,
) -> CorpusSplit:
    """Returns some rows as a split of a corpus, in memory or in files of a folder.

    Raises:
      InputError: a label is not among the classes.
    """
    numbers = {label: number for number, label in enumerate(classes)}
    labels = rows.labels.take(indices)
    for number in np.unique(labels.values).tolist():
        if rows.names[number] not in numbers:
            raise _unknown_class(rows.names[number], rows.places[number], config, classes)
    class_numbers = np.array([numbers.get(label, -1) for label in rows.names], np.int32)
    values = class_numbers[labels.values]
    if config.multi_label:
        is_label = np.zeros((len(indices), len(classes)), bool)
        is_label[np.repeat(np.arange(len(indices)), labels.lengths), values] = True
        values = is_label
    fields = {}
    for field, column in rows.fields.items():
        writer = TextColumnWriter(folder, f"{name}.{field}")
        writer.extend(column, indices)
        fields[field] = writer.finish()
    if folder:
        np.save(folder / f"{name}.labels.npy", values)
    return CorpusSplit(values, fields)


def _map_split(folder: Path, name: str, config: DataConfig) -> CorpusSplit:
    fields = {
        field: TextColumn(
            *(map_array(folder / f"{name}.{field}.{part}.npy") for part in ("utf8", "offsets"))
        )
        for field in dict.fromkeys(config.text.split("+"))
    }
    return CorpusSplit(map_array(folder / f"{name}.labels.npy"), fields)


def _unknown_class(name: str, place: str, config: DataConfig, classes: Sequence[str]) -> InputError:
    listed = ", ".join(classes[:20]) + (", ..." if len(classes) > 20 else "")
    source = "config.data.classes does not list" if config.classes else "no training row has"
    return InputError(
        f"{place}: the class is {name!r}, which {source}; expected one of {listed}: mend the row, "
        "or list all in config.data.classes"
    )


def _fingerprint(classes: Sequence[str], splits: dict[str, CorpusSplit]) -> str:
    digest = hashlib.sha256(json.dumps(list(classes)).encode())
    for name, split in sorted(splits.items()):
        digest.update(f"{name} {len(split)}".encode())
        digest.update(split.labels.tobytes())
        for field, column in split.fields.items():
            digest.update(field.encode())
            for values in (column.offsets, column.utf8):
                for block in read_blocks(values):
                    digest.update(block.tobytes())
    return digest.hexdigest()
