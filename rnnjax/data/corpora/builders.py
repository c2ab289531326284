"""Data sets of tensorflow_datasets and their rows. Imported only to prepare a corpus."""

import contextlib
import json
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds
from tqdm import tqdm

from rnnjax.data.corpora.csv_files import CsvRow
from rnnjax.data.corpora.prepared import PreparedCorpus
from rnnjax.errors import InputError

_FEATURES = "tensorflow_datasets.core.features."


def download(name: str, data_dir: Path) -> None:
    """Downloads and prepares a data set of tensorflow_datasets in a folder of data sets."""
    with _quiet():
        tfds.builder(name, data_dir=data_dir, file_format="array_record").download_and_prepare()


def read(folder: Path) -> PreparedCorpus:
    """Reads the rows of a prepared data set.

    Args:
      folder: the one named by its version.

    Raises:
      InputError: reading it would import a module from outside tensorflow_datasets.
    """
    path = folder / "features.json"
    _check_features(path, json.loads(path.read_text(encoding="utf-8")))
    with _quiet():
        return _read_splits(tfds.builder_from_directory(folder))


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


def _read_splits(builder: Any) -> PreparedCorpus:
    rows = {split: list(_read_rows(builder, split)) for split in ("train", "test")}
    return PreparedCorpus(builder.info.features["label"].names, rows)


def _read_rows(builder: Any, split: str, batch_size: int = 1_000) -> Iterator[CsvRow]:
    source = builder.as_data_source(split)
    with tqdm(total=len(source), desc=f"Reading {split}", unit=" rows", disable=None) as bar:
        for start in range(0, len(source), batch_size):
            # One by one is five times slower.
            indices = range(start, min(start + batch_size, len(source)))
            for row in source.__getitems__(list(indices)):
                yield CsvRow(int(row["label"]), row["title"].decode(), row["description"].decode())
            bar.update(len(indices))


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
