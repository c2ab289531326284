"""Data sets of tensorflow_datasets and their rows. Imported only to prepare a corpus."""

import contextlib
import json
import logging
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from tqdm import tqdm

from rnnjax.data.corpora.column_files import TextColumnWriter
from rnnjax.data.corpora.corpus import TextColumn
from rnnjax.data.corpora.labelled_files import sort_classes
from rnnjax.data.corpora.prepared import PreparedCorpus
from rnnjax.errors import InputError

_FEATURES = "tensorflow_datasets.core.features."


def download(name: str, data_dir: Path) -> None:
    """Downloads and prepares a data set of tensorflow_datasets in a folder of data sets."""
    with _quiet():
        tfds.builder(name, data_dir=data_dir, file_format="array_record").download_and_prepare()


def names() -> list[str]:
    """Returns the names of the data sets that the installed library has."""
    return tfds.list_builders(with_community_datasets=False)


def read(folder: Path, fields: Sequence[str], label: str) -> PreparedCorpus:
    """Reads the rows of a prepared data set, of its splits 'train' and 'test'.

    Args:
      folder: the one named by its version.
      fields: text features.
      label: feature of the class, a ClassLabel, text or whole numbers; '' for none.

    Raises:
      InputError: reading it would import a module from outside tensorflow_datasets, it lacks a
        feature or the split 'train', or a row has no class.
    """
    path = folder / "features.json"
    _check_features(path, json.loads(path.read_text(encoding="utf-8")))
    with _quiet():
        builder = tfds.builder_from_directory(folder)
        info: Any = builder.info
        features, splits = info.features, info.splits
        texts = [name for name, feature in features.items() if _is_scalar(feature, np.object_)]
        for field in fields:
            if field not in texts:
                raise InputError(
                    f"{folder}: has no text {field!r}; its texts are {_listed(texts)}: set "
                    "config.data.text (or config.data.vocabulary.text) to one of them, or to "
                    "several joined by '+'"
                )
        kinds = np.object_, np.integer, np.bool_
        labels = [name for name, feature in features.items() if _is_scalar(feature, *kinds)]
        if label and label not in labels:
            raise InputError(
                f"{folder}: has no class {label!r}; the features that can be one are "
                f"{_listed(labels)}: set config.data.label to one of them"
            )
        if "train" not in splits:
            raise InputError(
                f"{folder}: has no split 'train'; its splits are {_listed(list(splits))}: choose "
                "another data set in config.data.corpus"
            )
        parts = {
            split: _read_columns(builder, split, fields, label)
            for split in ("train", "test")
            if split in splits
        }
    if not len(parts["train"][0]):
        raise InputError(f"{folder}: the split 'train' has no rows; choose another data set")
    labels_of = {split: values for split, (values, _) in parts.items()}
    if not label:
        classes, numbers = ["text"], {"": 0}
        return PreparedCorpus(classes, _numbered(parts, numbers), fields)
    if isinstance(features[label], tfds.features.ClassLabel):
        classes = features[label].names
        numbers = {str(number): number for number in range(len(classes))}
    else:
        classes = list(sort_classes(labels_of["train"]))
        numbers = {name: number for number, name in enumerate(classes)}
    if len(classes) < 2:
        raise InputError(
            f"{folder}: every row of the split 'train' has the class {classes[0]!r} in {label!r}; "
            "expected two or more classes: set config.data.label to another feature"
        )
    for split, values in labels_of.items():
        for index, name in enumerate(values):
            if name not in numbers:
                raise InputError(
                    f"{folder}: {label!r} of row {index} of the split {split!r} is {name}, "
                    f"expected one of {_listed(list(numbers))}; a data set that hides the classes "
                    "of its test split cannot be used: choose another"
                )
    return PreparedCorpus(classes, _numbered(parts, numbers), fields)


def _is_scalar(feature: Any, *kinds: type[np.generic]) -> bool:
    """Returns whether a feature is one value of a dtype."""
    if not isinstance(feature, tfds.features.Tensor) or feature.shape != ():
        return False
    dtype: Any = feature.np_dtype
    return any(np.issubdtype(dtype, kind) for kind in kinds)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, sorted(names)[:30])) or "none"


def _check_features(path: Path, values: Any) -> None:
    """Raises InputError if a feature is of a class whose module the library would import."""
    if isinstance(values, dict):
        names = (values.get(key) for key in ("pythonClassName", "python_class_name", "type"))
        for name in names:
            if isinstance(name, str) and "." in name and not name.startswith(_FEATURES):
                raise InputError(
                    f"{path}: names the class {name}, whose module would be imported and run; "
                    f"expected classes of {_FEATURES}* alone. Prepare the data set anew"
                )
        values = list(values.values())
    for value in values if isinstance(values, list) else []:
        _check_features(path, value)


def _read_columns(
    builder: Any, split: str, fields: Sequence[str], label: str, batch_size: int = 1_000
) -> tuple[list[str], list[TextColumn]]:
    """Returns the labels of the rows of a split, '' without a label, and the columns of fields."""
    labels, writers = [], [TextColumnWriter(None, field) for field in fields]
    source = builder.as_data_source(split)
    with tqdm(total=len(source), desc=f"Reading {split}", unit=" rows", disable=None) as bar:
        for start in range(0, len(source), batch_size):
            # One by one is five times slower.
            indices = range(start, min(start + batch_size, len(source)))
            rows = source.__getitems__(list(indices))
            labels += [sys.intern(_as_text(row[label])) if label else "" for row in rows]
            for field, writer in zip(fields, writers, strict=True):
                writer.append(TextColumn.from_texts(_as_text(row[field]) for row in rows))
            bar.update(len(indices))
    return labels, [writer.finish() for writer in writers]


def _numbered(
    parts: Mapping[str, tuple[list[str], list[TextColumn]]], numbers: Mapping[str, int]
) -> dict[str, Iterator[tuple[Any, ...]]]:
    """Returns the rows of splits with the numbers of their labels."""
    return {
        split: zip(map(numbers.__getitem__, labels), *columns, strict=True)
        for split, (labels, columns) in parts.items()
    }


def _as_text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silences the output of tensorflow_datasets; progress bars go to terminals only."""
    logger = logging.getLogger("absl")
    level = logger.level
    tfds.display_progress_bar(sys.stderr.isatty())
    logger.setLevel(logging.ERROR)
    try:
        with Path(os.devnull).open("w") as null, contextlib.redirect_stdout(null):
            yield
    finally:
        logger.setLevel(level)
