"""Mutants of the carry, of metrics, of runs and of predictions."""

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax.tasks.classification.task import ClassificationTask
from rnnjax.tasks.classification.trained_run import TrainedClassifier

from .small_tasks import Rows, RowTask, StreamTask, weighted_sums
from .task_mutant import mutant


@mutant("carry_reset", "though every row begins anew")
class CarryNotReset(StreamTask):
    """A row that begins anew goes on with the old state."""

    def initial_state(self, batch, carry):
        """Returns the carry."""
        return carry


@mutant("carry_read", "evaluate_batch returns the same for another carry")
class CarryDroppedInEvaluation(StreamTask):
    """An evaluation begins every batch with zeros."""

    def evaluate_batch(self, params, batch, carry):
        """Drops the carry."""
        return self.batch_sums(params, batch, jnp.zeros_like(carry))


@mutant("carry_read", "the loss is the same for another carry")
class CarryDropped(StreamTask):
    """Every batch begins with zeros."""

    def initial_state(self, batch, carry):
        """Returns zeros."""
        return jnp.zeros_like(carry)


@mutant("carry_reset", "initial_carry no state of the rows")
class NoCarry(StreamTask):
    """Rows go on, and nothing is carried."""

    def initial_carry(self, batch_size):
        """Returns no carry."""
        return jnp.zeros(())

    def initial_state(self, batch, carry):
        """Returns zeros."""
        return jnp.zeros((len(batch.first), 4))

    def batch_sums(self, params, batch, carry, **options):
        """Returns the carry unchanged."""
        return super().batch_sums(params, batch, carry, **options)[0], carry


@mutant("pieces", "of a batch read in two pieces")
class StaleCarry(StreamTask):
    """The next carry is the state before the batch."""

    def batch_sums(self, params, batch, carry, **options):
        """Returns the state before the batch."""
        sums, _ = super().batch_sums(params, batch, carry, **options)
        return sums, self.initial_state(batch, carry)


@mutant("metric_rows", "the metric 'rows' is ")
class CountedBatches(RowTask):
    """The metric `rows` counts filled rows."""

    def compute_metrics(self, split, outputs):
        """Returns the size of all batches as `rows`."""
        metrics = super().compute_metrics(split, outputs)
        return {**metrics, "rows": len(outputs) * split.batch_size}


@mutant("filled_rows_in_metrics", "the metric 'accuracy' is ")
class FilledRowsScored(RowTask):
    """Metrics are means over all rows, filled ones too."""

    def evaluate_batch(self, params, batch, carry):
        """Returns loss and hit of each row."""
        sums = jax.vmap(weighted_sums)(
            self.logits(params, batch), batch.targets, jnp.ones_like(batch.weights)
        )
        return {"loss": sums["loss"] * batch.weights, "accuracy": sums["accuracy"]}, carry

    def compute_metrics(self, split, outputs):
        """Returns the means over all rows."""
        loss, hits = (
            np.concatenate([batch[name] for batch in outputs]) for name in ("loss", "accuracy")
        )
        means = {"loss": float(loss.sum()) / len(split), "accuracy": float(hits.mean())}
        return {**means, "rows": len(split)}


@mutant("batch_size", "in batches of 1 instead of 4")
class MeanOfMeans(RowTask):
    """Metrics are means of the means of batches."""

    def compute_metrics(self, split, outputs):
        """Returns the mean over the batches."""
        loss, accuracy = (
            float(np.mean([batch[name] / batch["weight"] for batch in outputs]))
            for name in ("loss", "accuracy")
        )
        return {"loss": loss, "accuracy": accuracy, "rows": len(split)}


class CurriculumRows(Rows):
    """The order depends on the number of evaluations so far."""

    evaluations: ClassVar[int] = 0

    def order(self, seed, epoch):
        """Returns an order that moves with every evaluation."""
        moved = CurriculumRows.evaluations if self.shuffle else 0
        return np.roll(super().order(seed, epoch), moved)


@mutant("resumption", "after 3 steps, a checkpoint and 3 more")
class PythonCurriculum(RowTask):
    """Training depends on a counter in Python, which no checkpoint holds."""

    splits = CurriculumRows

    def compute_metrics(self, split, outputs):
        """Counts the evaluation."""
        CurriculumRows.evaluations += 1
        return super().compute_metrics(split, outputs)


@mutant("restored_scores", "in result.json")
class CalibratedInTraining(RowTask):
    """Training sets an attribute that evaluation reads."""

    def loss(self, params, batch, carry, key):
        """Sets the temperature."""
        object.__setattr__(self, "temperature", 0.1)
        return super().loss(params, batch, carry, key)

    def logits(self, params, batch, **options):
        """Divides the logits by the temperature."""
        temperature = getattr(self, "temperature", 1.0)
        return super().logits(params, batch, **options) / temperature


class SortedClassifier(TrainedClassifier):
    """Predictions come in the order of their lengths."""

    def predict(self, texts):
        """Returns the probabilities by the length of the texts."""
        order = np.argsort([len(text) for text in texts], kind="stable")
        return super().predict(texts)[order]


@mutant("separate_predictions", "and for the same text alone")
class UnorderedPredictions(ClassificationTask):
    """Predictions do not come in the order of the texts."""

    @classmethod
    def trained_run(cls):
        """Returns the class with the mistake."""
        return SortedClassifier


class ShiftedClassifier(TrainedClassifier):
    """The probability of each class is that of the previous one."""

    def predict(self, texts):
        """Returns the probabilities of other classes."""
        return np.roll(super().predict(texts), 1, axis=1)


@mutant("accuracy_of_predictions", "the accuracy of the predictions is ")
class ShiftedClasses(ClassificationTask):
    """Prediction names other classes than the evaluation counts."""

    @classmethod
    def trained_run(cls):
        """Returns the class with the mistake."""
        return ShiftedClassifier
