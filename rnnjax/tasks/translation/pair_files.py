"""Sentence pairs from two named columns of CSV, TSV, JSON Lines or Parquet files."""

from pathlib import Path

import numpy as np

from rnnjax.config.sections import DataConfig
from rnnjax.data.batches import TEST
from rnnjax.data.corpora.parallel_text import ParallelCorpus, SentencePairs
from rnnjax.data.corpora.tables import read_rows
from rnnjax.data.splitting import stratified_split
from rnnjax.errors import InputError

_VALIDATION = 2**32 - 3
"""The random stream that draws the validation split, the same for every seed of a run."""


def load_pair_files(config: DataConfig, source: str, target: str) -> ParallelCorpus:
    """Loads the pairs of the files of a data section.

    Parts without a file are drawn from `config.file`, the same rows for every seed: for the test
    `config.test` of them, and `config.validation` of the others.

    Args:
      config: its files, and the shares of the parts.
      source: column of the source texts.
      target: column of the target texts.

    Raises:
      InputError: a file is missing or damaged, lacks a column or has no rows, a text is no string,
        or a part has no rows.
    """
    if source == target:
        raise InputError(
            f"config.translation.target: given {target!r}, which is config.translation.source too; "
            "expected the names of two columns"
        )
    files = {"train": config.file, "validation": config.validation_file, "test": config.test_file}
    splits = {name: read_pairs(Path(path), source, target) for name, path in files.items() if path}
    for name, share, stream in (
        ("test", config.test, TEST),
        ("validation", config.validation, _VALIDATION),
    ):
        if name not in splits:
            train, key = splits["train"], f"config.data.{name}"
            rest, drawn = stratified_split(np.zeros(len(train)), share, stream, key=key)
            splits["train"], splits[name] = train.take(rest), train.take(drawn)
    names = " and ".join(path for path in files.values() if path)
    return ParallelCorpus(
        name=Path(config.file).stem,
        source=f"{names}, from {source!r} to {target!r}",
        splits=splits,
    )


def read_pairs(path: Path, source: str, target: str) -> SentencePairs:
    """Reads the texts of two columns.

    Raises:
      InputError: the file is missing or damaged, lacks a column or has no rows, or a text is no
        string.
    """
    pairs = []
    for values, place in read_rows(path, [source, target]):
        for name, value in zip((source, target), values, strict=True):
            if not isinstance(value, str):
                raise InputError(
                    f"{place}: {name!r} is {value!r}, expected a text: mend the row, or set "
                    "config.translation.source and .target to columns of text"
                )
        pairs.append(values)
    if not pairs:
        raise InputError(f"{path}: there are no rows; give another file")
    return SentencePairs(*map(tuple, zip(*pairs, strict=True)))
