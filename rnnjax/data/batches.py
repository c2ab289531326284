"""Batches of few shapes, as a pure function of seed and step."""

import dataclasses
import functools
import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int, Int32

Rows = Int[np.ndarray, " rows"]

Shape = tuple[int, ...]
"""The padded lengths of a batch, one for each kind of sequence in it."""


class Batch(NamedTuple):
    """What goes to the device at once. Rows of weight zero only fill it."""

    tokens: Int32[np.ndarray, "batch time"]
    mask: Bool[np.ndarray, "batch time"]
    labels: Int32[np.ndarray, " batch"]
    weights: Float32[np.ndarray, " batch"]


class BatchGroup(NamedTuple):
    """Several batches of one padded shape, what goes to the device in one call of a training.

    Attributes:
      batches: arrays as those of a batch, `[group, batch, ...]`.
      count: how many of them there are; the rest only fills the stack.
    """

    batches: Any
    count: np.int32


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
    def from_lists(cls, rows: Sequence[Sequence[int]]) -> "Sequences":
        """Returns the sequences given as lists of numbers."""
        offsets = np.zeros(len(rows) + 1, np.int64)
        np.cumsum([len(row) for row in rows], out=offsets[1:])
        tokens = np.fromiter(itertools.chain.from_iterable(rows), np.int32, count=offsets[-1])
        return cls(tokens, offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @functools.cached_property
    def lengths(self) -> Rows:
        """The number of tokens of each sequence."""
        return np.diff(self.offsets)

    def take(self, rows: Rows) -> "Sequences":
        """Returns the sequences of some rows, in that order."""
        lengths = self.lengths[rows]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        # By how much a token stands elsewhere is one number for a whole sequence.
        shifts = np.repeat(self.offsets[rows] - offsets[:-1], lengths)
        return Sequences(self.tokens[shifts + np.arange(offsets[-1])], offsets)

    def pad(
        self, rows: Int[np.ndarray, "*shape"], time: int
    ) -> tuple[Int32[np.ndarray, "*shape time"], Bool[np.ndarray, "*shape time"]]:
        """Returns the tokens of some rows, zeros after them, and where they are.

        Args:
          rows: which; -1 for an empty one.
          time: length of the longest or more.
        """
        there = rows >= 0
        lengths = np.where(there, self.lengths[rows], 0)
        real = np.arange(time) < lengths[..., None]
        tokens = np.zeros(real.shape, np.int32)
        tokens[real] = self.take(rows[there]).tokens
        return tokens, real


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


class Epochs:
    """The batches of every epoch: `batch_at(seed, step)` depends on nothing else.

    A subclass is a frozen dataclass. It gives the attributes below, the buckets, and what the
    batches of some rows look like.

    Attributes:
      batch_size: rows of a batch.
      shuffle: a new order every epoch; otherwise that of the rows.
      group_size: most batches of a `BatchGroup`. Where batches are shuffled, so many of one padded
        shape come one after the other.
    """

    batch_size: int
    shuffle: bool
    group_size: int

    @functools.cached_property
    def _buckets(self) -> list[Rows]:
        """The rows that may share a batch."""
        raise NotImplementedError

    def _padded(self, rows: Rows) -> Shape:
        """Returns the lengths to which a batch of these rows is padded."""
        raise NotImplementedError

    def _filled(self, batches: list[Rows], size: int, shape: Shape) -> Any:
        """Returns the arrays of some batches, and of batches of no examples up to `size`."""
        raise NotImplementedError

    @property
    def steps_per_epoch(self) -> int:
        """Number of batches, the same in every epoch."""
        return sum(-(-len(rows) // self.batch_size) for rows in self._buckets)

    def empty_batches(self) -> list[Any]:
        """Returns a batch of no examples of each shape that the first epoch of seed 0 has."""
        return [self._batch(np.zeros(0, np.int64), shape) for shape in self._used_shapes]

    def empty_batch_groups(self) -> list[BatchGroup]:
        """Returns a stack of no batches of each shape that the first epoch of seed 0 has."""
        return [self._stack([], shape) for shape in self._used_shapes]

    @property
    def _used_shapes(self) -> list[Shape]:
        return sorted({self._padded(group[0]) for group in self._order(0, 0)})

    def indices_at(self, seed: int, step: int) -> Rows:
        """Returns the examples of a batch; every example is in one batch of each epoch."""
        group, place = self._place(seed, step)
        return group[place]

    def batch_at(self, seed: int, step: int) -> Any:
        """Returns the batch of a step, counted over all epochs."""
        group, place = self._place(seed, step)
        return self._batch(group[place], self._padded(group[0]))

    def batch_group_at(self, seed: int, step: int, most: int) -> BatchGroup:
        """Returns the batches from a step to the end of its group, but no more than `most`."""
        group, place = self._place(seed, step)
        return self._stack(group[place : place + most], self._padded(group[0]))

    def stack_batches(self, seed: int, steps: range, shape: Shape) -> BatchGroup:
        """Returns the batches of some steps, all padded to the same lengths."""
        return self._stack([self.indices_at(seed, step) for step in steps], shape)

    def padded_shape_at(self, seed: int, step: int) -> Shape:
        """Returns the lengths to which the batch of a step is padded."""
        return self._padded(self.indices_at(seed, step))

    def _place(self, seed: int, step: int) -> tuple[list[Rows], int]:
        """Returns the group of a step, and where in it the step is."""
        epoch, index = divmod(step, self.steps_per_epoch)
        groups, ends = self._epoch(seed, epoch)
        number = int(np.searchsorted(ends, index, side="right"))
        return groups[number], index - int(ends[number]) + len(groups[number])

    @functools.cached_property
    def _epoch(self):
        # Successive steps ask for the same epoch; the cache changes no result.
        return functools.lru_cache(maxsize=2)(self._numbered)

    def _numbered(self, seed: int, epoch: int) -> tuple[list[list[Rows]], Rows]:
        groups = self._order(seed, epoch)
        return groups, np.cumsum([len(group) for group in groups])

    def _order(self, seed: int, epoch: int) -> list[list[Rows]]:
        def shuffled(items, stream):
            if not self.shuffle:
                return items
            return [items[index] for index in permutation(len(items), seed, epoch, stream)]

        buckets = [np.asarray(shuffled(rows, 1 + n)) for n, rows in enumerate(self._buckets)]
        batches = [
            rows[start : start + self.batch_size]
            for rows in buckets
            for start in range(0, len(rows), self.batch_size)
        ]
        return shuffled(self._grouped(batches), 0)

    def _grouped(self, batches: list[Rows]) -> list[list[Rows]]:
        """Returns the batches in groups of one padded shape."""
        groups, growing = [], {}
        for rows in batches:
            shape = self._padded(rows)
            if not self.shuffle and shape not in growing:
                growing = {}  # an order that is to stay joins neighbours alone
            if len(growing.get(shape, ())) in (0, self.group_size):
                growing[shape] = []
                groups.append(growing[shape])
            growing[shape].append(rows)
        return groups

    def _batch(self, rows: Rows, shape: Shape) -> Any:
        batch = self._filled([rows], 1, shape)
        return type(batch)(*(each[0] for each in batch))

    def _stack(self, batches: list[Rows], shape: Shape) -> BatchGroup:
        return BatchGroup(self._filled(batches, self.group_size, shape), np.int32(len(batches)))

    def _numbers(self, batches: list[Rows], size: int) -> Int[np.ndarray, "size batch"]:
        """Returns the rows of some batches, -1 where there are none."""
        rows = np.full((size, self.batch_size), -1)
        for index, each in enumerate(batches):
            rows[index, : len(each)] = each
        return rows


@dataclasses.dataclass(frozen=True, eq=False)
class Batches(Epochs):
    """Batches of labelled sequences.

    Attributes:
      sequences: the tokens of the examples.
      labels: int32, one for each example.
      batch_size: as for `Epochs`.
      boundaries: rising lengths to which batches are padded; the last holds every example.
      bucketing: the examples of a batch have the same boundary.
      shuffle: as for `Epochs`.
      mask_padding: the mask is False on padding. Otherwise every step up to the longest example of
        the batch is real.
      group_size: as for `Epochs`.
    """

    sequences: Sequences
    labels: Int32[np.ndarray, " examples"]
    batch_size: int
    boundaries: tuple[int, ...]
    bucketing: bool = True
    shuffle: bool = True
    mask_padding: bool = True
    group_size: int = 1

    def __len__(self) -> int:
        return len(self.sequences)

    @property
    def tokens(self) -> Int32[np.ndarray, " tokens"]:
        """The tokens of all examples."""
        return self.sequences.tokens

    @functools.cached_property
    def _buckets(self) -> list[Rows]:
        if not self.bucketing:
            return [np.arange(len(self.sequences))]
        bucket = np.searchsorted(self.boundaries, self.sequences.lengths)
        rows = [np.flatnonzero(bucket == index) for index in range(len(self.boundaries))]
        return [each for each in rows if len(each)]

    def _padded(self, rows: Rows) -> Shape:
        longest = self.sequences.lengths[rows].max()
        return (self.boundaries[np.searchsorted(self.boundaries, longest)],)

    def _filled(self, batches: list[Rows], size: int, shape: Shape) -> Batch:
        rows = self._numbers(batches, size)
        there = rows >= 0
        tokens, real = self.sequences.pad(rows, *shape)
        mask = real
        if not self.mask_padding:
            longest = real.sum(axis=-1).max(axis=-1)[:, None, None]
            mask = np.broadcast_to(np.arange(real.shape[-1]) < longest, real.shape)
        labels = np.where(there, self.labels[rows], 0).astype(np.int32)
        return Batch(tokens, mask, labels, there.astype(np.float32))
