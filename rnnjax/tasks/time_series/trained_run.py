"""A trained network on series: predicts labels or the next values of a file."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from rnnjax.tasks.task import Prediction
from rnnjax.tasks.time_series import corpus as series_corpus
from rnnjax.tasks.time_series import data
from rnnjax.tasks.time_series.task import TimeSeriesTask
from rnnjax.tasks.trained_run import TrainedRun


@dataclasses.dataclass(frozen=True)
class TrainedSeriesModel(TrainedRun):
    """A network that predicts labels of series, or their next values."""

    def predictions(self, inputs: Path | Sequence[str]) -> Iterator[Prediction]:
        """Yields the label of each series of a file, or the values after its end.

        The file needs no labels.

        Raises:
          InputError: it cannot be read, or has other channels than the training part.
        """
        task = self.task
        assert isinstance(task, TimeSeriesTask)
        if not isinstance(inputs, Path):
            raise self.query_error("reads no texts")
        config = self.config
        table, channels = series_corpus.read_file(inputs, config.data, task.options, labels=False)
        series_corpus.check_channels(inputs, channels, task.encoder.channels)
        if task.options.output == "forecast":
            windows = data.last_windows(table, config.data.sequence_length)
            whole = config.model_copy(update={"data": config.data.model_copy(update={"take": 0})})
            split = data.make_window_batches(whole, task.encoder, table, windows)
        else:
            count = len(table.values) if task.model.stepwise else len(table)
            rows, targets = np.arange(len(table)), np.zeros(count, np.int32)
            split = data.encode(
                *(config, task.encoder, task.target_scaling, table, rows, targets),
                boundaries=self.boundaries,
            )
        yield from task.predictions(split, self.outputs(split, "predict"))
