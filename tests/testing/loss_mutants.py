"""Mutants of the loss and the scores of a batch."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from .small_tasks import CLASSES, Pooled, RowTask, StreamTask, weighted_sums
from .task_mutant import mutant


@mutant("evaluation_without_dropout", "evaluate_batch draws random numbers")
class EvaluationDropout(RowTask):
    """Dropout is on in an evaluation."""

    def evaluate_batch(self, params, batch, carry):
        """Returns the sums with dropout."""
        return self.batch_sums(params, batch, carry, rngs={"dropout": jax.random.key(0)})


@mutant("weighted_mean", "loss times weight is ")
class MeanOverRows(RowTask):
    """The loss is divided by the number of rows."""

    def loss(self, params, batch, carry, key):
        """Returns the sum over the rows of the batch."""
        _, (sums, carry) = super().loss(params, batch, carry, key)
        return sums["loss"] / len(batch.weights), (sums, carry)


@mutant("weighted_mean", "the sum 'loss' is ")
class UnweightedSums(RowTask):
    """The sums for the log forget the weights; the loss does not."""

    def loss(self, params, batch, carry, key):
        """Returns the sums over all rows."""
        loss, (sums, carry) = super().loss(params, batch, carry, key)
        ones = jnp.ones_like(batch.weights)
        logits = self.logits(params, batch)
        every = weighted_sums(logits, batch.targets, ones)
        return loss, ({**every, "weight": sums["weight"]}, carry)


@mutant("weighted_mean", "the sum 'weight' is ")
class CountedSteps(RowTask):
    """The weight is the number of steps."""

    def batch_sums(self, params, batch, carry, **options):
        """Returns the number of real steps as weight."""
        sums, carry = super().batch_sums(params, batch, carry, **options)
        return {**sums, "weight": jnp.sum(batch.mask).astype(jnp.float32)}, carry


@mutant("weighted_mean", "the sum 'accuracy' is ")
class UnweightedAccuracy(RowTask):
    """The accuracy is a sum over all steps."""

    def batch_sums(self, params, batch, carry, **options):
        """Returns the number of real steps as accuracy."""
        sums, carry = super().batch_sums(params, batch, carry, **options)
        return {**sums, "accuracy": jnp.sum(batch.mask).astype(jnp.float32)}, carry


@mutant("masked_values", "with other values at masked steps")
class ReadPadding(RowTask):
    """Padding is read as data."""

    def logits(self, params, batch, **options):
        """Returns the logits without a mask."""
        mask = jnp.ones_like(batch.mask)
        return self.model.apply({"params": params}, batch.inputs, mask, **options)


class Multiplied(Pooled):
    """Masks by multiplication."""

    @nn.compact
    def __call__(self, inputs, mask):
        """Returns logits that a NaN under the mask reaches."""
        factors = mask[..., None].astype(jnp.float32)
        hidden = nn.tanh(nn.Dense(4)(inputs * factors))
        return nn.Dense(CLASSES)(self.pool(hidden, mask))


@mutant("masked_values", "with NaN at masked steps")
class MultipliedMask(RowTask):
    """The mask is a factor of zero, which leaves a NaN."""

    network = Multiplied


@mutant("masked_values", "the sum 'accuracy' is ")
class MaskedLabels(StreamTask):
    """The accuracy is a mean over masked steps too."""

    def batch_sums(self, params, batch, carry, **options):
        """Returns the share of hits at all steps, times the weights."""
        sums, state = super().batch_sums(params, batch, carry, **options)
        zeros = self.initial_state(batch, carry)
        inputs = batch.inputs, batch.mask, zeros
        _, logits = self.model.apply({"params": params}, *inputs)
        rows = jnp.max(batch.weights, axis=1, keepdims=True)
        steps = jnp.broadcast_to(rows, batch.weights.shape)
        hits = weighted_sums(logits, batch.targets, steps)["accuracy"]
        return {**sums, "accuracy": hits * sums["weight"] / batch.weights.size}, state


@mutant("masked_values", "the metric ")
class EvaluationReadsPadding(RowTask):
    """Padding is masked in training alone."""

    def evaluate_batch(self, params, batch, carry):
        """Returns the sums without a mask."""
        return self.batch_sums(params, batch._replace(mask=jnp.ones_like(batch.mask)), carry)


class PaddedMean(Pooled):
    """Divides by the padded length."""

    def pool(self, hidden, mask):
        """Returns the sum over the real steps, divided by all steps."""
        return jnp.where(mask[..., None], hidden, 0).mean(axis=1)


@mutant("padding", "with 3 more masked steps")
class PooledPadding(RowTask):
    """Scores pool over padding."""

    network = PaddedMean


@mutant("padding", "outputs.")
class PaddedEvaluation(RowTask):
    """The loss of an evaluation grows with the padded length."""

    def evaluate_batch(self, params, batch, carry):
        """Returns sums whose loss grows with the padding."""
        sums, carry = super().evaluate_batch(params, batch, carry)
        return {**sums, "loss": sums["loss"] * batch.mask.shape[1]}, carry


class BatchNormalized(Pooled):
    """Subtracts the mean over the rows."""

    def pool(self, hidden, mask):
        """Returns rows that depend on one another."""
        pooled = super().pool(hidden, mask)
        return pooled - pooled.mean(axis=0, keepdims=True)


@mutant("zero_weight_rows", "after a change to rows of weight zero")
class BatchStatistics(RowTask):
    """Statistics over the rows of a batch, filled ones too."""

    network = BatchNormalized


@mutant("zero_weight_rows", "outputs.accuracy")
class FilledHits(RowTask):
    """Hits in an evaluation are counted in rows of weight zero too."""

    def evaluate_batch(self, params, batch, carry):
        """Returns hits of all rows."""
        sums, carry = super().evaluate_batch(params, batch, carry)
        ones = jnp.ones_like(batch.weights)
        hits = weighted_sums(self.logits(params, batch), batch.targets, ones)["accuracy"]
        return {**sums, "accuracy": hits}, carry


@mutant("filled_rows", "the loss is ")
class SumOverRows(RowTask):
    """The loss is multiplied by the number of rows of a batch."""

    def loss(self, params, batch, carry, key):
        """Returns the mean loss times the size of the batch."""
        loss, rest = super().loss(params, batch, carry, key)
        return loss * len(batch.weights), rest


@mutant("row_order", "with the rows in reverse order")
class RowPosition(RowTask):
    """The logits depend on the position of a row in its batch."""

    def logits(self, params, batch, **options):
        """Returns logits with a bias for each row."""
        position = jnp.arange(len(batch.weights)) % 3
        return super().logits(params, batch, **options) + jax.nn.one_hot(position, CLASSES)
