"""The series of a config: files, or generated ones, with their targets."""

import dataclasses
import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rnnjax.config.sections import DataConfig
from rnnjax.data.array_files import digest_file
from rnnjax.data.corpora.labelled_files import sort_classes
from rnnjax.data.dataset import Source
from rnnjax.errors import InputError
from rnnjax.tasks.time_series import generated
from rnnjax.tasks.time_series.config import TimeSeriesConfig
from rnnjax.tasks.time_series.files import SeriesColumns, read_series
from rnnjax.tasks.time_series.series import SeriesTable, check_values


@dataclasses.dataclass(frozen=True, kw_only=True)
class SeriesCorpus(Source):
    """Series of each split.

    The metadata are 'classes' (of class outputs) and, of generated series, 'best_accuracy' and
    'best_rmse'.

    Attributes:
      splits: 'train' and those with a file of their own.
      targets: of each split, of its series or of its steps: int32 classes or float64 numbers; none
        of forecasts.
      channels: names of the channels.
    """

    splits: Mapping[str, SeriesTable]
    targets: Mapping[str, np.ndarray]
    channels: tuple[str, ...]


def load_corpus(config: DataConfig, options: TimeSeriesConfig) -> SeriesCorpus:
    """Loads the files of a config, or generates series.

    Raises:
      InputError: a file cannot be read, has other channels or a label that the training file
        lacks, or there is one class.
    """
    metadata: dict[str, Any] = {}
    if config.file:
        names = {"train": config.file, "validation": config.validation_file}
        names |= {"test": config.test_file}
        paths = {name: Path(path) for name, path in names.items() if path}
        tables = {name: read_file(path, config, options) for name, path in paths.items()}
        channels = tables["train"][1]
        for name, (_, others) in tables.items():
            check_channels(paths[name], others, channels)
        splits = {name: table for name, (table, _) in tables.items()}
        digests = (bytes.fromhex(digest_file(path)) for path in paths.values())
        fingerprint = hashlib.sha256(b"".join(digests)).hexdigest()
        name, source = paths["train"].stem, " and ".join(map(str, paths.values()))
    else:
        series = generated.generate()
        splits, channels = series.splits, ("0",)
        if options.elapsed:
            raise InputError(
                "config.time_series.elapsed: given True, and generated series have no times; "
                "expected config.data.file"
            )
        metadata = {"best_accuracy": series.best_accuracy, "best_rmse": series.best_rmse}
        content = b"".join(table.values.tobytes() for table in splits.values())
        fingerprint = hashlib.sha256(content).hexdigest()
        name, source = "autoregressive", generated.DESCRIPTION
    classes: tuple[str, ...] = ()
    if options.output.endswith("class"):
        labels = splits["train"].labels
        assert labels is not None
        classes = sort_classes(str(label) for label in labels.tolist())
        if len(classes) < 2:
            raise InputError(
                f"{config.file}: every label is {''.join(classes)!r}; expected two classes or more:"
                " set config.data.label to the labels"
            )
        metadata["classes"] = list(classes)
    targets = {}
    if options.output != "forecast":
        targets = {name: make_targets(table, options, classes) for name, table in splits.items()}
    return SeriesCorpus(
        name, source, fingerprint, metadata, splits=splits, targets=targets, channels=channels
    )


def read_file(
    path: Path, config: DataConfig, options: TimeSeriesConfig, *, labels: bool = True
) -> tuple[SeriesTable, tuple[str, ...]]:
    """Reads and checks a file of series; returns them and the names of their channels.

    Raises:
      InputError: it cannot be read, or has infinite values, or missing ones that are refused.
    """
    columns = SeriesColumns(
        label=config.label if labels and options.output != "forecast" else "",
        id=options.id,
        time=options.time,
        channels=options.channels,
        elapsed=options.elapsed,
    )
    table, channels = read_series(path, columns)
    check_values(table, channels, options.missing)
    return table, channels


def check_channels(path: Path, channels: tuple[str, ...], expected: tuple[str, ...]) -> None:
    """Raises InputError if a file has other channels than the training part."""
    if channels != expected:
        raise InputError(
            f"{path}: has the channels {', '.join(channels)}, and the training part has "
            f"{', '.join(expected)}; give a file with the same ones"
        )


def make_targets(
    table: SeriesTable, options: TimeSeriesConfig, classes: tuple[str, ...]
) -> np.ndarray:
    """Returns the targets of series or of steps: int32 classes, or float64 numbers.

    Raises:
      InputError: labels are not of series or of steps as the output needs them, a class is not
        among those of the training part, or a number is none.
    """
    labels = table.labels
    assert labels is not None
    is_stepwise = options.output.startswith("step_")
    if is_stepwise and len(labels) != len(table.values):
        raise InputError(
            f"{table.places[0]}: has one label for each series, and config.time_series.output is "
            f"{options.output!r}; expected {options.output.removeprefix('step_')!r}, or a label "
            "for each step"
        )
    if not is_stepwise and len(labels) != len(table):
        labels = _labels_of_series(table, labels, options)

    def place(index: int) -> str:
        return table.place(index) if is_stepwise else table.places[index]

    if options.output.endswith("class"):
        numbers = {name: number for number, name in enumerate(classes)}
        ids = [numbers.get(str(label), -1) for label in labels.tolist()]
        if -1 in ids:
            index = ids.index(-1)
            shown = ", ".join(classes[:20]) + (", ..." if len(classes) > 20 else "")
            raise InputError(
                f"{place(index)}: the label is {str(labels[index])!r}, which no training series "
                f"has; expected one of {shown}"
            )
        return np.array(ids, np.int32)
    values = []
    for index, label in enumerate(labels.tolist()):
        try:
            values.append(float(label))
        except (ValueError, TypeError):
            values.append(math.nan)
        if not math.isfinite(values[-1]):
            raise InputError(
                f"{place(index)}: the label is {str(label)[:40]!r}, expected a finite number: mend "
                "it, or set config.time_series.output to a class"
            )
    return np.array(values, np.float64)


def _labels_of_series(
    table: SeriesTable, labels: np.ndarray, options: TimeSeriesConfig
) -> np.ndarray:
    """Returns the label of each series, which all its steps have."""
    starts = table.offsets[:-1]
    first = np.repeat(labels[starts], np.diff(table.offsets))
    if np.any(first != labels):
        step = int(np.argmax(first != labels))
        raise InputError(
            f"{table.place(step)}: the label is {str(labels[step])!r}, and the series began with "
            f"{str(first[step])!r}; expected one label for a series, or "
            f"config.time_series.output='step_{options.output}'"
        )
    return labels[starts]
