"""Labelled text from files with named columns."""

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from rnnjax.config.sections import DataConfig
from rnnjax.data import array_files
from rnnjax.data.array_files import PIECES, digest_file, map_array, prepare_folder, read_blocks
from rnnjax.data.batches import TEST
from rnnjax.data.corpora.column_files import ColumnWriter, TextColumnWriter, text_paths
from rnnjax.data.corpora.corpus import Corpus, CorpusSplit, TextColumn
from rnnjax.data.corpora.labelled_rows import LabelledRows, read_labelled_rows
from rnnjax.data.corpora.tables import list_files
from rnnjax.data.sequences import Indices
from rnnjax.data.splitting import stratified_split
from rnnjax.errors import InputError

FORMAT_VERSION = 2
"""Raise it when the columns or the header of large files, or the rows of the same files, change."""

_OPTIONS = ("text", "label", "classes", "multi_label", "label_separator", "test")
"""Keys of the data section that the rows of the splits depend on, beside the files."""


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
    classes, fingerprint, splits = _load_splits(paths, config)
    return Corpus(
        name=Path(config.file).stem,
        source=f"Labelled text from {' and '.join(map(str, paths.values()))}.",
        fallback="",
        fingerprint=fingerprint,
        classes=classes,
        splits=splits,
        is_stratified=not config.multi_label,
    )


def load_labelled_split(path: Path, config: DataConfig, classes: Sequence[str]) -> CorpusSplit:
    """Loads the rows of a file, or of a folder of files, as one split; large ones are mapped.

    Raises:
      InputError: a file is missing or damaged, a text is no string, a row has no label, or one that
        is not among the classes.
    """
    return _load_splits({"rows": path}, config, tuple(classes))[-1]["rows"]


def _load_splits(
    paths: Mapping[str, Path], config: DataConfig, classes: tuple[str, ...] = ()
) -> tuple[tuple[str, ...], str, dict[str, CorpusSplit]]:
    """Returns classes, fingerprint and splits of files, in memory or mapped from the cache.

    Args:
      paths: of the splits.
      config: names columns and classes.
      classes: of the labels; none for those of the config, or of the rows of 'train'.
    """
    files = {split: list_files(path) for split, path in paths.items()}
    if not any(array_files.is_large(file) for part in files.values() for file in part):
        classes, splits = _read_splits(paths, config, classes, None)
        return classes, _fingerprint(classes, splits), splits
    options = [FORMAT_VERSION, *(getattr(config, name) for name in _OPTIONS), *classes]
    sources = {split: list(map(digest_file, part)) for split, part in files.items()}
    key = hashlib.sha256(json.dumps([options, sources]).encode()).hexdigest()

    def prepare(folder: Path) -> None:
        try:
            names, splits = _read_splits(paths, config, classes, folder)
        except InputError as error:
            # Mended files are other files; those that could not be read may be read again.
            if not isinstance(error.__context__, OSError):
                shutil.rmtree(folder)
            raise
        header = {
            "classes": names,
            "fingerprint": _fingerprint(names, splits),
            "splits": list(splits),
        }
        (folder / "corpus.json").write_text(json.dumps(header), encoding="utf-8")

    name = next(iter(paths.values())).stem
    folder = prepare_folder("labelled", name, key, prepare)
    header = json.loads((folder / "corpus.json").read_text(encoding="utf-8"))
    splits = {name: _map_split(folder, name, config) for name in header["splits"]}
    return tuple(header["classes"]), header["fingerprint"], splits


def _read_splits(
    paths: Mapping[str, Path], config: DataConfig, classes: tuple[str, ...], folder: Path | None
) -> tuple[tuple[str, ...], dict[str, CorpusSplit]]:
    """Reads files as classes and splits.

    Args:
      paths: as for `_load_splits`.
      config: as for `_load_splits`.
      classes: as for `_load_splits`.
      folder: for the files of the columns; None for columns in memory.
    """
    scratch = folder / PIECES if folder else None
    if scratch:
        scratch.mkdir(exist_ok=True)
    parts = {name: read_labelled_rows(path, config, scratch, name) for name, path in paths.items()}
    rows = {name: np.arange(len(part), dtype=np.int32) for name, part in parts.items()}
    if "train" in parts and "test" not in parts:
        parts["test"] = parts["train"]
        rows["train"], rows["test"] = _split_test(parts["train"], config)
    if not classes:
        classes = _listed_classes(config) or _training_classes(parts["train"], rows["train"])
        _check_classes(classes, config)
    splits = {
        name: _make_split(part, rows[name], config, classes, folder, name)
        for name, part in parts.items()
    }
    return classes, splits


def _split_test(rows: LabelledRows, config: DataConfig) -> tuple[Indices, Indices]:
    """Draws the test split; returns the other rows and its rows, both rising."""
    if config.multi_label:
        strata = np.zeros(len(rows), np.int8)
    else:
        every = np.arange(len(rows), dtype=np.int32)
        strata = np.concatenate([labels.values for labels, _ in rows.select(every)])
    return stratified_split(strata, config.test, TEST, key="config.data.test")


def _training_classes(rows: LabelledRows, indices: Indices) -> tuple[str, ...]:
    """Returns the classes of the training rows, sorted."""
    numbers = {int(n) for labels, _ in rows.select(indices) for n in np.unique(labels.values)}
    return sort_classes(rows.names[number] for number in numbers)


def _listed_classes(config: DataConfig) -> tuple[str, ...]:
    classes = tuple(filter(None, config.classes.split(",")))
    if len(set(classes)) < len(classes):
        twice = next(name for name in classes if classes.count(name) > 1)
        raise InputError(
            f"config.data.classes: given {twice!r} twice, expected each class once: leave it out"
        )
    return classes


def _check_classes(classes: Sequence[str], config: DataConfig) -> None:
    if len(classes) < (1 if config.multi_label else 2):
        reason = f"every row has the class {classes[0]!r}" if classes else "no row has a label"
        raise InputError(
            f"{config.file}: {reason}; expected two or more classes: set config.data.label to the "
            "column of the classes"
        )


def sort_classes(labels: Iterable[str]) -> tuple[str, ...]:
    """Returns each label once: whole numbers in rising order, others sorted."""
    names = set(labels)
    if all(name.removeprefix("-").isdecimal() for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))


def _make_split(
    rows: LabelledRows,
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
    class_numbers = np.array([numbers.get(label, -1) for label in rows.names], np.int32)
    for labels, _ in rows.select(indices):
        unknown = labels.values[class_numbers[labels.values] < 0]
        if len(unknown):
            number = int(unknown[0])
            raise _unknown_class(rows.names[number], rows.places[number], config, classes)
    path = folder / f"{name}.labels.npy" if folder else None
    shape, dtype = ((len(classes),), bool) if config.multi_label else ((), np.int32)
    targets = ColumnWriter(path, dtype, shape)
    writers = {field: TextColumnWriter(folder, f"{name}.{field}") for field in rows.fields}
    for labels, texts in rows.select(indices, rows.fields):
        values = class_numbers[labels.values]
        if config.multi_label:
            is_label = np.zeros((len(labels), len(classes)), bool)
            is_label[np.repeat(np.arange(len(labels)), labels.lengths), values] = True
            values = is_label
        targets.append(values)
        for field, writer in writers.items():
            writer.append(texts[field])
    fields = {field: writer.finish() for field, writer in writers.items()}
    return CorpusSplit(targets.finish(), fields)


def _map_split(folder: Path, name: str, config: DataConfig) -> CorpusSplit:
    fields = {
        field: TextColumn(*map(map_array, text_paths(folder, f"{name}.{field}")))
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
        for block in read_blocks(split.labels):
            digest.update(block.tobytes())
        for field, column in split.fields.items():
            digest.update(field.encode())
            for values in (column.offsets, column.utf8):
                for block in read_blocks(values):
                    digest.update(block.tobytes())
    return digest.hexdigest()
