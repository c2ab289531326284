"""A trained network on series: predicts labels or the next values of a file."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rnnjax.tasks.exported import Examples, ExportedFunction, ExportedNetwork, spread, symbols
from rnnjax.tasks.task import Prediction
from rnnjax.tasks.time_series import corpus as series_corpus
from rnnjax.tasks.time_series import data
from rnnjax.tasks.time_series.task import TimeSeriesTask
from rnnjax.tasks.trained_run import TrainedRun


@dataclasses.dataclass(frozen=True, repr=False)
class TrainedSeriesModel(TrainedRun):
    """A network that predicts labels of series, or their next values."""

    def exported(self) -> ExportedNetwork:
        """Returns the function from scaled series to labels or values."""
        batch, time = symbols()
        task = self.task
        assert isinstance(task, TimeSeriesTask)
        inputs, mask = task.input_shapes(batch, (time,))

        def predict(params, inputs, mask):
            outputs: Any = task.model.apply({"params": params}, inputs, mask)
            return task.answer(outputs, mask)

        is_forecast = task.options.output == "forecast"
        mean, scale = task.target_scaling
        if is_forecast:
            count = len(task.encoder.channels) - task.options.elapsed
            # By channel, beside the quantiles.
            mean = [[value] for value in task.encoder.mean[:count]]
            scale = [[value] for value in task.encoder.scale[:count]]
        settings = {
            **task.encoder.describe(),
            "classes": list(task.classes),
            "stepwise": task.model.stepwise and not is_forecast,
            "last_steps": self.config.data.sequence_length if is_forecast else 0,
            "target_mean": mean,
            "target_scale": scale,
            "point": task.point,
            "quantiles": [f"{level:g}" for level in task.quantiles],
        }
        function = ExportedFunction(predict, {"inputs": inputs, "mask": mask})
        return ExportedNetwork("series", settings, {"model": function})

    def examples(self, texts: Sequence[str] | None = None) -> Examples:
        """Returns series of the test split, before they are scaled, with their answers.

        Args:
          texts: None.

        Raises:
          InputError: the data of the run is not available, or texts are given.
        """
        task = self.task
        assert isinstance(task, TimeSeriesTask)
        if texts is not None:
            raise self.query_error("reads no texts")
        dataset = task.make_dataset(self.config, task.load_corpus(self.config))
        split: Any = dataset.test
        rows = np.array(spread(range(len(split))))
        if isinstance(split, data.WindowBatches):
            split = dataclasses.replace(split, windows=split.windows[rows])
            series = [np.asarray(split.values[start:stop]) for start, stop, *_ in split.windows]
        else:
            split = split.take(rows)
            series = [task.encoder.unscaled(*row) for row in split.rows()]
        answers = task.predictions(split, self.outputs(split, "predict"))
        inputs = [
            [[None if np.isnan(value) else float(value) for value in step] for step in values]
            for values in series
        ]
        return Examples(inputs, [dict(answer.values) for answer in answers])

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
