"""Labelled text from files with named columns."""

import hashlib
import itertools
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rnnjax.config.sections import DataConfig
from rnnjax.data.batches import TEST
from rnnjax.data.corpora.corpus import Corpus, CorpusSplit, TextColumn
from rnnjax.data.corpora.tables import TableRow, read_rows
from rnnjax.data.splitting import stratified_split
from rnnjax.errors import InputError


def load_labelled_files(config: DataConfig) -> Corpus:
    """Loads the files of a data section.

    Classes are those of the training rows, whole numbers in rising order and others sorted, or
    those that `config.classes` lists. Without a test file, a share of each class of `config.file`
    is the test split, the same for every seed; of rows with several labels, a share of the rows.

    Raises:
      InputError: a file is missing or damaged, a row has no label, or one that no training row has,
        or there are too few classes.
    """
    paths = {"train": config.file, "validation": config.validation_file, "test": config.test_file}
    rows = {split: read_labelled_rows(Path(path), config) for split, path in paths.items() if path}
    if not config.test_file:
        labels = [row.values[-1] for row in rows["train"]]
        strata = [0] * len(labels) if config.multi_label else labels
        train, test = stratified_split(strata, config.test, TEST, key="config.data.test")
        rows = {
            **rows,
            "train": [rows["train"][index] for index in train],
            "test": [rows["train"][index] for index in test],
        }
    classes = _listed_classes(config)
    if not classes:
        labels = [row.values[-1] for row in rows["train"]]
        if config.multi_label:
            labels = itertools.chain.from_iterable(labels)
        classes = sort_classes(labels)
    if len(classes) < (1 if config.multi_label else 2):
        reason = f"every row has the class {classes[0]!r}" if classes else "no row has a label"
        raise InputError(
            f"{config.file}: {reason}; expected two or more classes: set config.data.label to the "
            "column of the classes"
        )
    splits = {split: make_split(values, config, classes) for split, values in rows.items()}
    files = " and ".join(path for path in paths.values() if path)
    return Corpus(
        name=Path(config.file).stem,
        source=f"Labelled text from {files}.",
        fallback="",
        fingerprint=_fingerprint(classes, splits),
        classes=classes,
        splits=splits,
        is_stratified=not config.multi_label,
    )


def read_labelled_rows(path: Path, config: DataConfig) -> list[TableRow]:
    """Reads the texts and the label of each row: strings, the label, or a tuple of labels, last.

    Raises:
      InputError: a file is missing or damaged, a text is no string, or a row has no label.
    """
    names, rows = config.text.split("+"), []
    for values, place in read_rows(path, [*names, config.label]):
        for name, value in zip(names, values, strict=False):
            if not isinstance(value, str):
                raise InputError(
                    f"{place}: {name!r} is {value!r}, expected a text: mend the row, or set "
                    "config.data.text to columns of text"
                )
        parse = _parse_labels if config.multi_label else _parse_label
        rows.append(TableRow((*values[:-1], parse(values[-1], config, place)), place))
    if not rows:
        raise InputError(f"{path}: there are no rows; give another file")
    return rows


def _parse_label(value: Any, config: DataConfig, place: str) -> str:
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
    return str(value)


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


def make_split(rows: Sequence[TableRow], config: DataConfig, classes: Sequence[str]) -> CorpusSplit:
    """Returns rows as a split of a corpus.

    Raises:
      InputError: a label is not among the classes.
    """
    numbers = {name: number for number, name in enumerate(classes)}
    shape = (len(rows), len(classes)) if config.multi_label else len(rows)
    labels = np.zeros(shape, bool if config.multi_label else np.int32)
    for index, (values, place) in enumerate(rows):
        for name in values[-1] if config.multi_label else (values[-1],):
            if name not in numbers:
                raise _unknown_class(name, place, config, classes)
            if config.multi_label:
                labels[index, numbers[name]] = True
            else:
                labels[index] = numbers[name]
    columns = zip(*(values[:-1] for values, _ in rows), strict=True)
    fields = {
        name: TextColumn.from_texts(texts)
        for name, texts in zip(config.text.split("+"), columns, strict=True)
    }
    return CorpusSplit(labels, fields)


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
            digest.update(column.offsets.tobytes())
            digest.update(column.utf8.tobytes())
    return digest.hexdigest()
