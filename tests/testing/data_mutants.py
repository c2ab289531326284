"""Mutants of a task's data and of its initial parameters."""

import jax
import numpy as np

from .small_tasks import Rows, RowTask
from .task_mutant import mutant


class CounterRows(Rows):
    """The order advances with each call."""

    calls = 0

    def order(self, seed, epoch):
        """Returns another order every time."""
        self.calls += 1
        return np.roll(super().order(seed, epoch), self.calls)


@mutant("pure_batches", "the second call of batch_at(0, ")
class CounterOrder(RowTask):
    """The order of the examples depends on a counter."""

    splits = CounterRows


class GlobalRows(Rows):
    """The examples are drawn once, from the global generator."""

    def __post_init__(self):
        super().__post_init__()
        self.inputs = np.random.standard_normal(self.inputs.shape).astype(np.float32)


@mutant("pure_batches", "of a second data set has another `inputs`")
class GlobalExamples(RowTask):
    """Another data set has other examples."""

    splits = GlobalRows


class UngroupedRows(Rows):
    """The batches of a group are those of the next step."""

    def batch_group_at(self, seed, step, limit):
        """Returns the batch of the next step."""
        return super().batch_group_at(seed, step + 1, limit)


@mutant("pure_batches", "the first batch of batch_group_at(0, ")
class ShiftedGroups(RowTask):
    """Training reads other batches than `batch_at` returns."""

    @classmethod
    def make_splits(cls, config):
        """Returns the training split with the mistake."""
        _, test = super().make_splits(config)
        return UngroupedRows(30, config.batch_size, 1, shuffle=True), test


class LongestRows(Rows):
    """Batches are as long as their longest sequence."""

    def batch_at(self, seed, step):
        """Returns a batch without padding at its end."""
        batch = super().batch_at(seed, step)
        longest = int(batch.mask.sum(axis=1).max())
        return batch._replace(inputs=batch.inputs[:, :longest], mask=batch.mask[:, :longest])


@mutant("few_shapes", "expected one of the 1 of empty_batches()")
class UnboundedShapes(RowTask):
    """Every batch has a shape of its own."""

    splits = LongestRows


class WeightedEmptyRows(Rows):
    """An empty batch is a batch."""

    def empty_batches(self):
        """Returns the first batch."""
        return [self.batch_at(0, 0)]


@mutant("few_shapes", "an empty batch of the train split has weights above zero")
class FilledEmptyBatches(RowTask):
    """Empty batches have weights."""

    splits = WeightedEmptyRows


class DroppingRows(Rows):
    """The last batch is dropped."""

    @property
    def steps_per_epoch(self):
        """Number of full batches."""
        return self.count // self.batch_size


@mutant("every_example_once", "an epoch of the train split has 12 rows")
class DroppedLastBatch(RowTask):
    """The last examples are in no batch."""

    splits = DroppingRows


class RepeatingRows(Rows):
    """The last batch has the first examples."""

    def indices(self, seed, step):
        """Returns the first examples in the last batch."""
        indices = super().indices(seed, step)
        return self.order(seed, 0)[: len(indices)] if len(indices) < self.batch_size else indices


@mutant("every_example_once", "are not there when a batch has one row more")
class RepeatedExamples(RowTask):
    """Some examples are there twice, others never."""

    splits = RepeatingRows


class UnseededRows(Rows):
    """The order follows from the epoch alone."""

    def order(self, seed, epoch):
        """Returns the order of seed 0."""
        return super().order(0, epoch)


@mutant("seeded_order", "of the seeds 0 and 1 are the same")
class UnseededOrder(RowTask):
    """Every seed has the same order."""

    splits = UnseededRows


@mutant("seeded_parameters", "other parameters for the same key")
class GlobalGenerator(RowTask):
    """Parameters come from NumPy's global generator."""

    def init(self, key):
        """Adds random numbers."""
        return jax.tree.map(
            lambda leaf: leaf + np.random.standard_normal(leaf.shape).astype(np.float32),
            super().init(key),
        )


@mutant("seeded_parameters", "the same parameters for another key")
class IgnoredKey(RowTask):
    """Every seed has the same parameters."""

    def init(self, key):
        """Initializes with key 0."""
        return super().init(jax.random.key(0))
