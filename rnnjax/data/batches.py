"""Batches of few shapes, as a pure function of seed and step."""

import dataclasses
import functools
import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int, Int32

Rows = Int[np.ndarray, " rows"]


class Batch(NamedTuple):
    """What goes to the device at once. Rows of weight zero only fill it."""

    tokens: Int32[np.ndarray, "batch time"]
    mask: Bool[np.ndarray, "batch time"]
    labels: Int32[np.ndarray, " batch"]
    weights: Float32[np.ndarray, " batch"]


@dataclasses.dataclass(frozen=True)
class Sequences:
    """Sequences of tokens, one after the other in one array.

    Attributes:
      tokens: int32, those of all the sequences.
      offsets: int64 `[sequences + 1]`, where each begins and the last ends.
    """

    tokens: Int32[np.ndarray, " tokens"]
    offsets: Int[np.ndarray, " ends"]

    @classmethod
    def of(cls, rows: Sequence[Sequence[int]]) -> "Sequences":
        """Returns the sequences given as lists of numbers."""
        offsets = np.zeros(len(rows) + 1, np.int64)
        np.cumsum([len(row) for row in rows], out=offsets[1:])
        tokens = np.fromiter(itertools.chain.from_iterable(rows), np.int32, count=offsets[-1])
        return cls(tokens, offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> Rows:
        """The number of tokens of each sequence."""
        return np.diff(self.offsets)

    def take(self, rows: Rows) -> "Sequences":
        """Returns the sequences of some rows, in that order."""
        pieces = [self.tokens[self.offsets[row] : self.offsets[row + 1]] for row in rows]
        offsets = np.concatenate([[0], np.cumsum(self.lengths[rows])]).astype(np.int64)
        return Sequences(np.concatenate([np.zeros(0, np.int32), *pieces]), offsets)


def permutation(count: int, *seeds: int) -> Rows:
    """Returns the numbers below `count` in an order that follows from the seeds alone.

    It is read off the raw stream of PCG64, which NumPy promises never to change, as it does not
    for the methods of its Generator (NumPy enhancement proposal 19).
    """
    stream = np.random.PCG64(np.random.SeedSequence(seeds))
    return np.argsort(stream.random_raw(count), kind="stable")


def choose_boundaries(
    lengths: Int[np.ndarray, " items"], most: int, group: int = 1, price: float = 0.0
) -> tuple[int, ...]:
    """Returns the padded lengths, rising, that cost the least.

    Items of one boundary come in groups. Each group, a started one too, costs that boundary, the
    smallest that holds its items, and each boundary costs a price of its own. The best choice is
    found by dynamic programming over the lengths that occur, of which at most 512 are looked at.

    Args:
      lengths: of the items, at least one.
      most: most boundaries.
      group: items of one batch.
      price: of one more boundary, in steps of a batch.
    """
    unique, counts = np.unique(np.maximum(lengths, 1), return_counts=True)
    if len(unique) > 512:
        ends = np.unique(np.quantile(unique, np.linspace(0, 1, 512), method="higher"))
        where = np.searchsorted(ends, unique)
        unique, counts = ends, np.bincount(where, weights=counts, minlength=len(ends))
    below = np.concatenate([[0], np.cumsum(counts)])  # items up to each candidate
    # steps[i, j]: those of the items after candidate i and up to j, which share a boundary.
    groups = np.ceil((below[None, 1:] - below[:, None]) / group)
    steps = np.where(groups > 0, groups * unique, np.inf) + price
    # cost[j]: the least for the items up to candidate j, with one boundary more in each round.
    cost = np.concatenate([[0.0], np.full(len(unique), np.inf)])
    rounds = []
    for _ in range(min(most, len(unique))):
        totals = cost[:, None] + steps
        choice = np.argmin(totals, axis=0)
        cost = np.concatenate([[np.inf], totals[choice, np.arange(len(unique))]])
        rounds.append((cost[-1], choice))
    count = min(range(len(rounds)), key=lambda index: rounds[index][0]) + 1
    boundaries = []
    end = len(unique)
    for _, choice in reversed(rounds[:count]):
        boundaries.append(int(unique[end - 1]))
        end = int(choice[end - 1])
    return tuple(reversed(boundaries))


@dataclasses.dataclass(frozen=True, eq=False)
class Batches:
    """The batches of every epoch: `batch_at(seed, step)` depends on nothing else.

    Attributes:
      sequences: the tokens of the examples.
      labels: int32, one for each example.
      batch_size: rows of a batch.
      boundaries: rising lengths to which batches are padded; the last holds every example.
      bucketing: the examples of a batch have the same boundary.
      shuffle: a new order every epoch; otherwise that of the rows.
      mask_padding: the mask is False on padding. Otherwise every step up to the longest example of
        the batch is real.
    """

    sequences: Sequences
    labels: Int32[np.ndarray, " examples"]
    batch_size: int
    boundaries: tuple[int, ...]
    bucketing: bool = True
    shuffle: bool = True
    mask_padding: bool = True

    @functools.cached_property
    def _buckets(self) -> list[Rows]:
        if not self.bucketing:
            return [np.arange(len(self.sequences))]
        bucket = np.searchsorted(self.boundaries, self.sequences.lengths)
        rows = [np.flatnonzero(bucket == index) for index in range(len(self.boundaries))]
        return [each for each in rows if len(each)]

    @functools.cached_property
    def steps_per_epoch(self) -> int:
        """Number of batches, the same in every epoch."""
        return sum(-(-len(rows) // self.batch_size) for rows in self._buckets)

    @functools.cached_property
    def used_boundaries(self) -> tuple[int, ...]:
        """The boundaries to which the first epoch of seed 0 pads its batches."""
        longest = np.array([self.sequences.lengths[rows].max() for rows in self._order(0, 0)])
        used = np.unique(np.searchsorted(self.boundaries, longest))
        return tuple(self.boundaries[index] for index in used)

    def rows_at(self, seed: int, step: int) -> Rows:
        """Returns the examples of a batch; every example is in one batch of each epoch."""
        epoch, index = divmod(step, self.steps_per_epoch)
        return self._epoch(seed, epoch)[index]

    def batch_at(self, seed: int, step: int) -> Batch:
        """Returns the batch of a step, counted over all epochs."""
        return self._batch(self.rows_at(seed, step))

    @functools.cached_property
    def _epoch(self):
        # Successive steps ask for the same epoch; the cache changes no result.
        return functools.lru_cache(maxsize=2)(self._order)

    def _order(self, seed: int, epoch: int) -> list[Rows]:
        def shuffled(items, stream):
            if not self.shuffle:
                return items
            return [items[index] for index in permutation(len(items), seed, epoch, stream)]

        buckets = [np.asarray(shuffled(rows, 1 + n)) for n, rows in enumerate(self._buckets)]
        starts = [
            (rows, start) for rows in buckets for start in range(0, len(rows), self.batch_size)
        ]
        batches = [rows[start : start + self.batch_size] for rows, start in starts]
        return shuffled(batches, 0)

    def _batch(self, rows: Rows) -> Batch:
        lengths = np.zeros(self.batch_size, np.int64)
        lengths[: len(rows)] = self.sequences.lengths[rows]
        longest = lengths.max()
        time = self.boundaries[np.searchsorted(self.boundaries, longest)]
        tokens = np.zeros((self.batch_size, time), np.int32)
        real = np.arange(time) < lengths[:, None]
        tokens[real] = self.sequences.take(rows).tokens
        mask = real if self.mask_padding else np.broadcast_to(np.arange(time) < longest, real.shape)
        labels = np.zeros(self.batch_size, np.int32)
        labels[: len(rows)] = self.labels[rows]
        weights = (np.arange(self.batch_size) < len(rows)).astype(np.float32)
        return Batch(tokens, mask, labels, weights)
