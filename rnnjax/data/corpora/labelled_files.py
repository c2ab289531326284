"""Labelled text from files with named columns."""

import collections
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rnnjax.config.sections import DataConfig
from rnnjax.data.batches import Indices, permutation
from rnnjax.data.corpora.corpus import Corpus, CorpusSplit, TextColumn
from rnnjax.data.corpora.tables import TableRow, read_rows
from rnnjax.errors import InputError

_TEST = 2**32 - 2
"""The random stream that draws the test split, the same for every seed of a run."""


def load_labelled_files(config: DataConfig) -> Corpus:
    """Loads the files of a data section.

    Classes are those of the training rows, whole numbers in rising order and others sorted, or
    those that `config.classes` lists. Without a test file, a share of each class of `config.file`
    is the test split, the same for every seed.

    Raises:
      InputError: a file is missing or damaged, a row has no label, or one that no training row has,
        or there are fewer than two classes.
    """
    names = config.text.split("+")
    paths = {"train": config.file, "validation": config.validation_file, "test": config.test_file}
    rows = {
        split: read_labelled_rows(Path(path), names, config.label)
        for split, path in paths.items()
        if path
    }
    if not config.test_file:
        labels = [row.values[-1] for row in rows["train"]]
        train, test = split_by_class(labels, config.test)
        rows = {
            **rows,
            "train": [rows["train"][index] for index in train],
            "test": [rows["train"][index] for index in test],
        }
    classes = tuple(filter(None, config.classes.split(",")))
    classes = classes or sort_classes(row.values[-1] for row in rows["train"])
    if len(classes) < 2:
        raise InputError(
            f"{config.file}: every row has the class {''.join(classes)!r}; expected two or more: "
            "set config.data.label to the column of the classes"
        )
    splits = {split: make_split(values, names, classes) for split, values in rows.items()}
    files = " and ".join(path for path in paths.values() if path)
    source = f"Labelled text from {files}."
    return Corpus(
        Path(config.file).stem, source, "", _fingerprint(classes, splits), classes, splits
    )


def read_labelled_rows(path: Path, text: Sequence[str], label: str) -> list[TableRow]:
    """Reads the texts and the label of each row: strings, the label last.

    Raises:
      InputError: a file is missing or damaged, a text is no string, or a row has no label.
    """
    rows = []
    for values, place in read_rows(path, [*text, label]):
        for name, value in zip(text, values, strict=False):
            if not isinstance(value, str):
                raise InputError(
                    f"{place}: {name!r} is {value!r}, expected a text: mend the row, or set "
                    "config.data.text to columns of text"
                )
        target = values[-1]
        if isinstance(target, float | list | dict) or target in (None, ""):
            raise InputError(
                f"{place}: {label!r} is {target!r}, expected a class, a text or a whole number: "
                "mend the row, or set config.data.label to the column of the classes"
            )
        rows.append(TableRow((*values[:-1], str(target)), place))
    if not rows:
        raise InputError(f"{path}: there are no rows; give another file")
    return rows


def sort_classes(labels: Any) -> tuple[str, ...]:
    """Returns each label once: whole numbers in rising order, others sorted."""
    names = set(labels)
    if all(name.lstrip("-").isdecimal() for name in names):
        return tuple(sorted(names, key=int))
    return tuple(sorted(names))


def split_by_class(labels: list[str], share: float) -> tuple[Indices, Indices]:
    """Returns the training and the test rows, both rising: a share of each class for the test.

    A class of n rows has `share * n` test rows, rounded, and at least one training row.

    Raises:
      InputError: no class has a test row.
    """
    by_class: dict[str, list[int]] = collections.defaultdict(list)
    for row in permutation(len(labels), _TEST).tolist():
        by_class[labels[row]].append(row)
    test = [
        row
        for rows in by_class.values()
        for row in rows[: min(round(share * len(rows)), len(rows) - 1)]
    ]
    if not test:
        raise InputError(
            f"config.data.test: {share} of {len(labels)} rows is less than one of any class; "
            "expected a larger share, or config.data.test_file"
        )
    is_test = np.zeros(len(labels), bool)
    is_test[test] = True
    return np.flatnonzero(~is_test), np.flatnonzero(is_test)


def make_split(
    rows: Sequence[TableRow], names: Sequence[str], classes: Sequence[str]
) -> CorpusSplit:
    """Returns rows as a split of a corpus.

    Raises:
      InputError: a label is not among the classes.
    """
    numbers = {name: number for number, name in enumerate(classes)}
    for values, place in rows:
        if values[-1] not in numbers:
            listed = ", ".join(classes[:20]) + (", ..." if len(classes) > 20 else "")
            raise InputError(
                f"{place}: the class is {values[-1]!r}, which no training row has; expected one of "
                f"{listed}: mend the row, or list all in config.data.classes"
            )
    labels = np.array([numbers[values[-1]] for values, _ in rows], np.int32)
    columns = zip(*(values[:-1] for values, _ in rows), strict=True)
    fields = {
        name: TextColumn.from_texts(texts) for name, texts in zip(names, columns, strict=True)
    }
    return CorpusSplit(labels, fields)


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
