"""Time series: network, losses, scores and predictions."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from rnnjax.config import Config
from rnnjax.data.batches import Batch, Shape
from rnnjax.data.vocabulary import Vocabulary
from rnnjax.reporting.run_files import Record
from rnnjax.reporting.run_report import ReportPart
from rnnjax.tasks.class_scores import (
    MATRIX_CLASSES,
    confusion_matrix,
    count_classes,
    macro_f1,
    score_classes,
)
from rnnjax.tasks.model_options import recurrent_options, trainable_mask
from rnnjax.tasks.task import Carry, Params, Prediction, Sums, Task, UsageCommand
from rnnjax.tasks.time_series import corpus as series_corpus
from rnnjax.tasks.time_series import data, metrics
from rnnjax.tasks.time_series.config import SCHEMA, TimeSeriesConfig, parse_quantiles
from rnnjax.tasks.time_series.corpus import SeriesCorpus
from rnnjax.tasks.time_series.data import SeriesBatches, SeriesDataset, WindowBatches
from rnnjax.tasks.time_series.model import SeriesModel
from rnnjax.tasks.time_series.report import make_report_part
from rnnjax.tasks.time_series.series import SeriesEncoder

if TYPE_CHECKING:
    from rnnjax.tasks.time_series.trained_run import TrainedSeriesModel
    from rnnjax.tasks.trained_run import TrainedRun


@dataclasses.dataclass(frozen=True)
class TimeSeriesTask(Task):
    """Classes or numbers of series or steps, or forecasts.

    Attributes:
      options: section of the config.
      encoder: of the values.
      target_scaling: mean and standard deviation of predicted numbers, which are scaled.
      classes: names; none of numbers.
    """

    schema = SCHEMA
    example_unit = "series"
    headline_metrics = ("accuracy", "macro_f1", "mae", "rmse", "r2", "pinball", "loss")
    commands = (
        UsageCommand("Predict the labels, or the next values, of a file", "predict", "--data FILE"),
        UsageCommand("Evaluate it on another file", "evaluate", "--data FILE"),
    )
    class_axes = MappingProxyType({"score/kernel": (1, "classes"), "score/bias": (0, "classes")})
    metadata_keys = ("channels", "mean", "scale", "missing", "target_scaling")

    model: SeriesModel
    options: TimeSeriesConfig
    encoder: SeriesEncoder
    target_scaling: tuple[float, float]
    classes: tuple[str, ...]

    @staticmethod
    def load_corpus(config: Config) -> SeriesCorpus:
        """Loads series with their targets."""
        return series_corpus.load_corpus(config.data, config.section(TimeSeriesConfig))

    @staticmethod
    def make_dataset(
        config: Config,
        corpus: SeriesCorpus,
        vocabulary: Vocabulary | None = None,
        sibling: SeriesDataset | None = None,
    ) -> SeriesDataset:
        """Returns batches of series."""
        del vocabulary, sibling
        return data.make_dataset(config, corpus)

    @classmethod
    def count_examples(cls, weights: np.ndarray) -> int:
        """Counts the series, or windows, with a non-zero weight."""
        return int(np.count_nonzero(weights.reshape(*weights.shape[:1], -1).any(axis=-1)))

    @classmethod
    def from_config(
        cls, config: Config, vocab_size: int, metadata: Mapping[str, Any]
    ) -> "TimeSeriesTask":
        """Builds the task of a config, with the channels and classes of the data."""
        del vocab_size
        options, encoder = (
            config.section(TimeSeriesConfig),
            SeriesEncoder.from_metadata(metadata),
        )
        classes = tuple(metadata.get("classes", ()))
        levels = max(len(parse_quantiles(options)), 1)
        is_forecast = options.output == "forecast"
        targets = len(encoder.channels) - options.elapsed if is_forecast else 1
        model = SeriesModel(
            outputs=len(classes) or options.horizon * targets * levels,
            inputs=encoder.features,
            stepwise=is_forecast or options.output.startswith("step_"),
            pooling=config.model.pooling,
            **recurrent_options(config.model, config.dtype),
        )
        mean, scale = metadata["target_scaling"]
        return cls(model, options, encoder, (mean, scale), classes)

    @property
    def quantiles(self) -> tuple[float, ...]:
        """The predicted quantiles; none of another loss."""
        return parse_quantiles(self.options)

    @property
    def point(self) -> int:
        """Index of the prediction of a number among the quantiles."""
        return self.quantiles.index(0.5) if self.quantiles else 0

    def input_shapes(
        self, batch_size: int = 1, lengths: Shape = (1,)
    ) -> tuple[jax.ShapeDtypeStruct, ...]:
        """Returns shapes and dtypes of inputs and mask."""
        shape = (batch_size, *lengths)
        inputs = jax.ShapeDtypeStruct((*shape, self.encoder.features), jnp.float32)
        return inputs, jax.ShapeDtypeStruct(shape, jnp.bool_)

    def trainable_mask(self, params: Params) -> Any:
        """Returns a pytree of bools, False for what a cell freezes."""
        return trainable_mask(params, {"recurrent": self.model.cell})

    def batch_sums(
        self, params: Params, batch: Batch, carry: Carry, **options: Any
    ) -> tuple[Sums, Carry]:
        """Returns the sums of loss, accuracy (of classes) and weights, and the predictions."""
        outputs: Any = self.model.apply({"params": params}, batch.inputs, batch.mask, **options)
        weights = jnp.asarray(batch.weights)
        sums = {"accuracy": jnp.zeros(()), "weight": jnp.sum(weights)}
        sums |= self.answer(outputs, jnp.asarray(batch.mask))
        if self.classes:
            losses = optax.softmax_cross_entropy_with_integer_labels(outputs, batch.targets)
            hits = jnp.argmax(outputs, axis=-1) == batch.targets
            sums["accuracy"] = jnp.sum(jnp.where(hits & (weights > 0), weights, 0))
        elif self.options.output == "forecast":
            losses, forecast_sums = self._forecast_sums(outputs, batch)
            sums |= forecast_sums
        else:
            losses = metrics.number_losses(
                sums["values"], jnp.asarray(batch.targets), self.options.loss, self.quantiles
            )
        loss = jnp.sum(jnp.where(weights > 0, losses * weights, 0))
        return {"loss": loss, **sums}, carry

    def answer(self, outputs: jax.Array, mask: jax.Array) -> Sums:
        """Returns labels and their probabilities, or values, scaled, by name.

        Args:
          outputs: of the network.
          mask: True where a step counts.
        """
        if self.classes:
            probability = jnp.max(jax.nn.softmax(outputs), axis=-1)
            return {"labels": jnp.argmax(outputs, axis=-1), "probability": probability}
        levels = max(len(self.quantiles), 1)
        if self.options.output != "forecast":
            return {"values": outputs.reshape(*outputs.shape[:-1], levels)}
        # The values after the last step that counts: [batch, horizon, channels, levels].
        steps = jnp.arange(mask.shape[1])[None]
        end = jnp.maximum(jnp.max(jnp.where(mask, steps, 0), axis=1), 0)
        last = jnp.take_along_axis(outputs, end[:, None, None], axis=1)[:, 0]
        return {"values": last.reshape(mask.shape[0], self.options.horizon, -1, levels)}

    def _forecast_sums(self, outputs: jax.Array, batch: Batch) -> tuple[jax.Array, Sums]:
        """Returns the loss of each step, and sums of errors by value ahead and channel."""
        targets = jnp.asarray(batch.targets)
        values = outputs.reshape(*targets.shape, -1)
        counts = jnp.isfinite(targets) & (jnp.asarray(batch.weights) > 0)[..., None, None]
        targets = jnp.where(counts, targets, 0)
        losses = metrics.number_losses(values, targets, self.options.loss, self.quantiles)
        number = jnp.maximum(jnp.sum(counts, axis=(-2, -1), dtype=jnp.float32), 1)
        mean_losses = jnp.sum(jnp.where(counts, losses, 0), axis=(-2, -1)) / number
        latest = jnp.where(batch.mask[..., None], batch.inputs, 0)[..., None, : targets.shape[-1]]

        def total(entries: jax.Array) -> jax.Array:
            return jnp.sum(jnp.where(counts, entries, 0), axis=(0, 1))

        errors, naive = targets - values[..., self.point], targets - latest
        return mean_losses, {
            "count": total(jnp.ones_like(targets)),
            "absolute": total(jnp.abs(errors)),
            "squared": total(errors**2),
            "naive_absolute": total(jnp.abs(naive)),
            "naive_squared": total(naive**2),
            "sum": total(targets),
            "sum_of_squares": total(targets**2),
        }

    def compute_metrics(self, split: Any, outputs: Sequence[Any]) -> dict[str, float | int]:
        """Returns the loss, the scores of classes or numbers, and rows.

        Numbers are scored in the units of the data, the loss is of scaled ones.
        """
        totals = {name: sum(float(batch[name]) for batch in outputs) for name in ("loss", "weight")}
        scores: dict[str, float | int] = {"loss": totals["loss"] / max(totals["weight"], 1e-9)}
        if self.options.loss == "quantile" and not self.classes:
            scores["pinball"] = scores["loss"]
        if self.classes:
            labels, predicted = self._label_pairs(split, outputs)
            scores["accuracy"] = float(np.mean(labels == predicted))
            scores["macro_f1"] = macro_f1(count_classes(labels, predicted, len(self.classes)))
        elif self.options.output == "forecast":
            by_step = self._scores_by_step(outputs)
            scores |= by_step[0]
        else:
            targets, values = self._number_pairs(split, outputs)
            errors = targets - values[:, self.point]
            scores |= metrics.score_numbers(
                float(np.abs(errors).sum()),
                float((errors**2).sum()),
                float(((targets - targets.mean()) ** 2).sum()),
                len(errors),
            )
        return {**scores, "rows": len(split)}

    def _scores_by_step(self, outputs: Sequence[Any]) -> list[dict[str, float]]:
        """Returns the scores of a forecast over all values ahead, then of each."""
        names = [
            name for name in outputs[0] if name not in ("loss", "accuracy", "weight", "values")
        ]
        sums = {
            name: np.sum([np.asarray(batch[name], np.float64) for batch in outputs], axis=0)
            for name in names
        }
        scale = np.array(self.encoder.scale[: sums["count"].shape[-1]])
        rows = []
        for steps in [slice(None), *(slice(n, n + 1) for n in range(self.options.horizon))]:
            part = {name: values[steps] for name, values in sums.items()}
            count = part["count"].sum()
            by_channel = np.maximum(part["count"].sum(axis=0), 1)
            spread = part["sum_of_squares"].sum(axis=0) - part["sum"].sum(axis=0) ** 2 / by_channel
            scores = {}
            for prefix in ("", "naive_"):
                numbers = metrics.score_numbers(
                    float((part[f"{prefix}absolute"] * scale).sum()),
                    float((part[f"{prefix}squared"] * scale**2).sum()),
                    float((spread * scale**2).sum()),
                    max(float(count), 1.0),
                )
                scores |= {f"{prefix}{name}": value for name, value in numbers.items()}
            rows.append(scores)
        return rows

    def _label_pairs(
        self, split: SeriesBatches, outputs: Sequence[Any]
    ) -> tuple[np.ndarray, np.ndarray]:
        rows = split.restore_order([batch["labels"] for batch in outputs])
        targets, predicted, counts = self._flatten(split, rows)
        return targets[counts], predicted[counts]

    def _number_pairs(
        self, split: SeriesBatches, outputs: Sequence[Any]
    ) -> tuple[np.ndarray, np.ndarray]:
        rows = split.restore_order([batch["values"] for batch in outputs])
        targets, values, counts = self._flatten(split, rows)
        mean, scale = split.target_mean, split.target_scale
        targets, values = targets[counts].astype(np.float64), values[counts].astype(np.float64)
        return targets * scale + mean, values * scale + mean

    def _flatten(
        self, split: SeriesBatches, rows: Sequence[np.ndarray] | np.ndarray
    ) -> tuple[Any, Any, Any]:
        """Returns targets and predictions of all examples, and which of them count."""
        if not self.model.stepwise:
            return split.targets, np.asarray(rows), slice(None)
        counts = slice(None) if split.observed is None else split.observed.values
        return split.targets.values, np.concatenate(rows), counts

    def analyze_test(
        self, config: Config, dataset: SeriesDataset, params: Params, outputs: Sequence[Any]
    ) -> dict[str, Any]:
        """Returns the scores of each class with the confusion matrix, or of each value ahead."""
        del config, params
        if self.options.output == "forecast":
            rows = self._scores_by_step(outputs)[1:]
            return {"by_step": [{"step": n, **row} for n, row in enumerate(rows, start=1)]}
        if not self.classes:
            return {}
        labels, predicted = self._label_pairs(dataset.test, outputs)
        size, matrix = len(self.classes), np.zeros((0, 0), int)
        if size <= MATRIX_CLASSES:
            matrix = confusion_matrix(labels, predicted, size)
        return {
            "per_class": score_classes(count_classes(labels, predicted, size), self.classes),
            "confusion": matrix.tolist(),
        }

    @classmethod
    def describe_baselines(cls, result: Mapping[str, Any]) -> str:
        """Returns the error of the latest value as a forecast, for messages; '' of others."""
        test = result["test"]
        if "naive_mae" not in test:
            return ""
        return f"the latest value as the forecast: mae {test['naive_mae']:.4f}"

    @classmethod
    def report(cls, run: Record) -> ReportPart:
        """Returns the scores of classes or of values ahead."""
        return make_report_part(run)

    def read_split(self, run: "TrainedRun", path: Path) -> SeriesBatches | WindowBatches:
        """Returns the labelled series of a file, or windows of its series.

        Raises:
          InputError: it cannot be read, or has other channels or classes.
        """
        table, channels = series_corpus.read_file(path, run.config.data, self.options)
        series_corpus.check_channels(path, channels, self.encoder.channels)
        if self.options.output == "forecast":
            windows = data.evaluation_windows(run.config, table)
            return data.make_window_batches(run.config, self.encoder, table, windows)
        targets = series_corpus.make_targets(table, self.options, self.classes)
        rows, boundaries = np.arange(len(table)), run.boundaries
        return data.encode(
            *(run.config, self.encoder, self.target_scaling, table, rows, targets),
            boundaries=boundaries,
        )

    def predictions(self, split: Any, outputs: Sequence[Any]) -> Iterator[Prediction]:
        """Yields the class, the number or the next values of each series."""
        if self.classes:
            labels, probabilities = (
                split.restore_order([batch[name] for batch in outputs])
                for name in ("labels", "probability")
            )
            for label, probability in zip(labels, probabilities, strict=True):
                names = np.array(self.classes)[label].tolist()
                text = names if isinstance(names, str) else " ".join(names)
                values = {"label": names, "probability": np.round(probability, 6).tolist()}
                yield Prediction(text, values)
            return
        if self.options.output == "forecast":
            channels = np.concatenate([batch["values"] for batch in outputs])[: len(split)]
            count = channels.shape[-2]
            mean, scale = (
                np.array(entry[:count])[:, None]
                for entry in (self.encoder.mean, self.encoder.scale)
            )
            rows: Any = channels * scale + mean
        else:
            rows = split.restore_order([batch["values"] for batch in outputs])
            rows = [row * self.target_scaling[1] + self.target_scaling[0] for row in rows]
        for row in rows:
            values = {"value": row[..., self.point].tolist()}
            if self.quantiles:
                levels = {f"{q:g}": row[..., n].tolist() for n, q in enumerate(self.quantiles)}
                values["quantiles"] = levels
            point = " ".join(f"{value:.6g}" for value in np.ravel(row[..., self.point]))
            yield Prediction(point, values)

    @classmethod
    def trained_run(cls) -> "type[TrainedSeriesModel]":
        """Returns the class of trained runs."""
        from rnnjax.tasks.time_series.trained_run import TrainedSeriesModel

        return TrainedSeriesModel


TASK = TimeSeriesTask
