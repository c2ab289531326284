"""Batches of series: labelled ones in buckets, and windows of them for forecasts."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, Int32, Int64

from rnnjax.config import Config
from rnnjax.data.array_files import release_pages
from rnnjax.data.batches import (
    TEST,
    VALIDATION,
    Batch,
    Batches,
    BucketedBatches,
    Shape,
    fit_boundaries,
)
from rnnjax.data.dataset import Dataset
from rnnjax.data.sequences import Indices, Sequences
from rnnjax.data.splitting import stratified_split
from rnnjax.errors import InputError
from rnnjax.tasks.time_series.config import TimeSeriesConfig
from rnnjax.tasks.time_series.corpus import SeriesCorpus
from rnnjax.tasks.time_series.series import SeriesEncoder, SeriesTable


@dataclasses.dataclass(frozen=True, eq=False)
class SeriesBatches(Batches):
    """Batches of series with a class or a scaled number for each, or for each of its steps.

    Attributes:
      observed: whether each step is read; None for all.
      target_mean: of numbers in the training part, before scaling.
      target_scale: their standard deviation.
    """

    observed: Sequences | None = None
    target_mean: float = 0.0
    target_scale: float = 1.0

    def take(self, rows: Indices) -> "SeriesBatches":
        """Returns batches of some of the series."""
        targets = self.targets
        return dataclasses.replace(
            self,
            sequences=self.sequences.take(rows),
            targets=targets.take(rows) if isinstance(targets, Sequences) else targets[rows],
            observed=None if self.observed is None else self.observed.take(rows),
        )

    def rows(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields inputs of each series, and whether each of its steps is read."""
        ends = self.sequences.offsets[1:-1]
        values = np.split(self.sequences.values, ends)
        if self.observed is None:
            yield from ((row, np.ones(len(row), bool)) for row in values)
        else:
            yield from zip(values, np.split(self.observed.values, ends), strict=True)

    def _collate(self, batches: list[Indices], size: int, shape: Shape) -> Batch:
        batch = super()._collate(batches, size, shape)
        if self.observed is None:
            return batch
        observed, _ = self.observed.pad(self._index_array(batches, size), *shape)
        weights = batch.weights
        if isinstance(self.targets, Sequences):
            weights = weights * observed
        return batch._replace(mask=batch.mask & observed, weights=weights)


@dataclasses.dataclass(frozen=True, eq=False)
class WindowBatches(BucketedBatches):
    """Windows of series, and the values after each of their steps.

    Attributes:
      values: of all steps; may be memory-mapped.
      windows: `[windows, 4]`: first step that is read, end of the steps, first step whose
        forecast counts, and end of the series or part, beyond which no value is known.
      encoder: of the values.
      target_channels: number of leading channels that are forecast.
      length: most steps of a window.
      horizon: number of values after a step.
      batch_size: as for `BucketedBatches`.
      shuffle: as for `BucketedBatches`.
      group_size: as for `BucketedBatches`.
    """

    values: Float[np.ndarray, "steps channels"]
    windows: Int64[np.ndarray, "windows 4"]
    encoder: SeriesEncoder
    target_channels: int
    length: int
    horizon: int
    batch_size: int
    shuffle: bool = False
    group_size: int = 1

    def __len__(self) -> int:
        return len(self.windows)

    @property
    def boundaries(self) -> tuple[int, ...]:
        """The number of time steps of a batch."""
        return (self.length,)

    @property
    def tokens(self) -> Int32[np.ndarray, " tokens"]:
        """No tokens."""
        return np.zeros(0, np.int32)

    @property
    def _buckets(self) -> list[Indices]:
        return [np.arange(len(self))]

    def _padded_shape(self, indices: Indices) -> Shape:
        del indices
        return self.boundaries

    def _collate(self, batches: list[Indices], size: int, shape: Shape) -> Batch:
        indices = self._index_array(batches, size)
        start, stop, first, limit = np.moveaxis(self.windows[indices], -1, 0)[..., None]
        steps = start + np.arange(shape[0])
        mask = (steps < stop) & (indices >= 0)[..., None]
        steps = np.where(mask, steps, 0)
        inputs, observed = self.encoder(np.asarray(self.values[steps]))
        inputs[~mask] = 0
        mask &= observed
        inputs[~mask] = 0
        ahead = steps[..., None] + 1 + np.arange(self.horizon)
        is_target = (ahead < limit[..., None]) & mask[..., None]
        future = np.asarray(self.values[np.where(is_target, ahead, 0)])
        targets = self.encoder.scaled(future[..., : self.target_channels])
        targets[~is_target] = np.nan
        weights = mask & (steps >= first) & np.isfinite(targets).any(axis=(-2, -1))
        targets[~weights] = 0
        release_pages(self.values)
        return Batch(inputs, mask, targets, weights.astype(np.float32))


@dataclasses.dataclass(frozen=True)
class SeriesDataset(Dataset[Any]):
    """A data set of series with its scaling.

    Attributes:
      encoder: fitted on the training split.
      target_scaling: mean and standard deviation of the numbers to predict in the training split.
    """

    corpus: SeriesCorpus
    encoder: SeriesEncoder
    target_scaling: tuple[float, float] = (0.0, 1.0)

    def describe(self) -> dict[str, Any]:
        """Describes the data for the files of a run, ready for JSON."""
        description = super().describe() | self.encoder.describe()
        return {**description, "target_scaling": list(self.target_scaling)}


def make_dataset(config: Config, corpus: SeriesCorpus) -> SeriesDataset:
    """Splits a corpus, fits the scaling, and makes the batches of each split.

    Labelled series are split by rows, classes stratified; the series of a forecast by time, the end
    of each for the test.

    Args:
      config: the data section, the batches, and the seed that draws the validation split.
      corpus: as `rnnjax.tasks.time_series.corpus.load_corpus` returns it.

    Raises:
      InputError: there are too few series or steps for the splits.
    """
    options = config.section(TimeSeriesConfig)
    if options.output == "forecast":
        return _make_windows(config, corpus, options)
    data, table, targets = config.data, corpus.splits["train"], corpus.targets["train"]
    is_stepwise = options.output.startswith("step_")
    strata = targets if options.output == "class" else np.zeros(len(table), np.int32)
    rows = {"train": np.arange(len(table))}
    if "test" not in corpus.splits:
        rows["train"], rows["test"] = stratified_split(
            strata, data.test, TEST, key="config.data.test"
        )
    rows = {name: indices[: data.take or None] for name, indices in rows.items()}
    if data.validation:
        train, validation = stratified_split(
            strata[rows["train"]], data.validation, config.seed, VALIDATION
        )
        rows |= {"train": rows["train"][train], "validation": rows["train"][validation]}
    raw = Sequences(table.values, table.offsets).take(rows["train"])
    fitted = SeriesTable(raw.values, raw.offsets, None, table.places)
    encoder = SeriesEncoder.fit(fitted, corpus.channels, options.missing)
    scaling = (0.0, 1.0)
    if options.output.endswith("number"):
        values = _take(targets, table, rows["train"], is_stepwise)
        values = values.values if isinstance(values, Sequences) else values
        scaling = float(values.mean()), float(values.std()) or 1.0

    def batches(name: str, **batch_options: Any) -> SeriesBatches:
        if name in corpus.splits and name != "train":
            split, chosen = corpus.splits[name], np.arange(len(corpus.splits[name]))
            split_targets, chosen = corpus.targets[name], chosen[: data.take or None]
        else:
            split, chosen, split_targets = table, rows[name], targets
        return encode(config, encoder, scaling, split, chosen, split_targets, **batch_options)

    options_of_training = {"shuffle": data.shuffle, "group_size": config.steps_per_call}
    training = fit_boundaries(
        batches("train", **options_of_training),
        data.buckets,
        epochs=config.epochs,
        seed=config.seed,
    )
    padded = {"boundaries": training.boundaries}
    has_validation = "validation" in rows or "validation" in corpus.splits
    return SeriesDataset(
        corpus,
        None,
        training,
        batches("validation", **padded) if has_validation else None,
        batches("test", **padded),
        encoder,
        scaling,
    )


def encode(
    config: Config,
    encoder: SeriesEncoder,
    scaling: Sequence[float],
    table: SeriesTable,
    rows: Indices,
    targets: np.ndarray,
    **options: Any,
) -> SeriesBatches:
    """Encodes series of a table, and returns them as batches, in their order by default.

    Args:
      config: of the run.
      encoder: of the training part.
      scaling: mean and standard deviation of the targets, where they are numbers.
      table: of the series.
      rows: of it.
      targets: of all series of the table, or of all their steps.
      **options: of the batches.
    """
    output = config.section(TimeSeriesConfig).output
    inputs, observed = encoder(table.values)
    if output.endswith("number"):
        targets = ((targets - scaling[0]) / scaling[1]).astype(np.float32)
    steps = Sequences(observed, table.offsets).take(rows)
    options = {"shuffle": False, "bucketing": config.data.bucketing} | options
    return SeriesBatches(
        Sequences(inputs, table.offsets).take(rows),
        _take(targets, table, rows, output.startswith("step_")),
        config.batch_size,
        observed=None if observed.all() else steps,
        target_mean=scaling[0],
        target_scale=scaling[1],
        **options,
    )


def _take(
    targets: np.ndarray, table: SeriesTable, rows: Indices, is_stepwise: bool
) -> np.ndarray | Sequences:
    return Sequences(targets, table.offsets).take(rows) if is_stepwise else targets[rows]


def cut_windows(
    bounds: Int[np.ndarray, "series 3"], length: int, stride: int, horizon: int
) -> Int64[np.ndarray, "windows 4"]:
    """Cuts series into windows such that each step counts in one.

    Args:
      bounds: of each series its start, its first step whose forecast counts, and its end.
      length: most steps of a window.
      stride: steps of a window whose forecast counts; those before are its history.
      horizon: number of values that have to follow a step that counts.
    """
    windows = [np.zeros((0, 4), np.int64)]
    for start, first, limit in bounds.tolist():
        block = np.arange(first, limit - horizon, stride)
        stop = np.minimum(block + stride, limit - horizon)
        windows.append(
            np.stack([np.maximum(start, stop - length), stop, block, np.full_like(stop, limit)], 1)
        )
    return np.concatenate(windows)


def last_windows(table: SeriesTable, length: int) -> Int64[np.ndarray, "windows 4"]:
    """Returns the last steps of each series as a window, which nothing follows."""
    start, stop = table.offsets[:-1], table.offsets[1:]
    return np.stack([np.maximum(start, stop - length), stop, stop - 1, stop], axis=1)


def evaluation_windows(
    config: Config,
    table: SeriesTable,
    first: Int[np.ndarray, " series"] | None = None,
    stop: Int[np.ndarray, " series"] | None = None,
) -> Int64[np.ndarray, "windows 4"]:
    """Cuts series into windows of which the second half counts.

    Args:
      config: of the run.
      table: of the series.
      first: of each series the first step whose forecast counts; None for its start.
      stop: end of the part of each series; None for the end of the series.
    """
    start = table.offsets[:-1]
    first, stop = (start if first is None else first), (table.offsets[1:] if stop is None else stop)
    length = config.data.sequence_length
    horizon = config.section(TimeSeriesConfig).horizon
    bounds = np.stack([start, first, stop], axis=1)
    return cut_windows(bounds, length, max(length // 2, 1), horizon)


def make_window_batches(
    config: Config, encoder: SeriesEncoder, table: SeriesTable, windows: np.ndarray, **options: Any
) -> WindowBatches:
    """Returns windows of a table as batches, in their order by default.

    Raises:
      InputError: there are none.
    """
    section = config.section(TimeSeriesConfig)
    if not len(windows):
        raise InputError(
            f"{table.places[0]}: no series is long enough for a part with a forecast of "
            f"{section.horizon} values; give longer series, or lower config.time_series.horizon"
        )
    return WindowBatches(
        table.values,
        windows[: config.data.take or None],
        encoder,
        len(encoder.channels) - section.elapsed,
        config.data.sequence_length,
        section.horizon,
        config.batch_size,
        **options,
    )


def _make_windows(config: Config, corpus: SeriesCorpus, options: TimeSeriesConfig) -> SeriesDataset:
    data, table = config.data, corpus.splits["train"]
    start, stop = table.offsets[:-1], table.offsets[1:]
    lengths = np.diff(table.offsets)
    test_steps = np.zeros_like(lengths)
    if "test" not in corpus.splits:
        test_steps = np.round(data.test * lengths).astype(np.int64)
    validation_steps = np.round(data.validation * lengths).astype(np.int64)
    test_start = stop - test_steps
    train_stop = test_start - validation_steps
    if len(table) == 1:  # which may be larger than memory
        training_values = table.values[: train_stop[0]]
    else:
        training_values = table.values[_between(start, train_stop, len(table.values))]
    fitted = SeriesTable(training_values, table.offsets, None, table.places)
    encoder = SeriesEncoder.fit(fitted, corpus.channels, options.missing)
    bounds = np.stack([start, start, train_stop], axis=1)
    windows = cut_windows(bounds, data.sequence_length, data.sequence_length, options.horizon)
    order = {"shuffle": data.shuffle, "group_size": config.steps_per_call}

    def evaluated(name: str, first: np.ndarray, end: np.ndarray) -> WindowBatches:
        if name in corpus.splits:
            split = corpus.splits[name]
            return make_window_batches(config, encoder, split, evaluation_windows(config, split))
        cut = evaluation_windows(config, table, np.maximum(first - 1, start), end)
        return make_window_batches(config, encoder, table, cut)

    has_validation = data.validation or "validation" in corpus.splits
    return SeriesDataset(
        corpus,
        None,
        make_window_batches(config, encoder, table, windows, **order),
        evaluated("validation", train_stop, test_start) if has_validation else None,
        evaluated("test", test_start, stop),
        encoder,
    )


def _between(start: np.ndarray, stop: np.ndarray, count: int) -> Bool[np.ndarray, " steps"]:
    """Returns whether each of `count` steps is in one of some ranges."""
    changes = np.zeros(count + 1, np.int64)
    np.add.at(changes, start, 1)
    np.add.at(changes, stop, -1)
    return np.cumsum(changes[:-1]) > 0
