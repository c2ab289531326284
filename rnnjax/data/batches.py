"""Bucketed batches: few padded shapes, and an order that follows from seed and step alone."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int, Int32, Shaped

from rnnjax.data.sequences import Indices, Sequences, longest, narrow
from rnnjax.errors import InputError

Shape = tuple[int, ...]
"""The padded lengths of a batch, one for each kind of sequence in it."""


class Batch(NamedTuple):
    """Padded sequences with their targets. Rows of weight zero are padding of the batch itself."""

    inputs: Shaped[np.ndarray, "batch time *features"]
    """Token ids, or numbers."""
    mask: Bool[np.ndarray, "batch time"]
    targets: Shaped[np.ndarray, "batch ..."]
    """Of each row, or of each step."""
    weights: Float32[np.ndarray, "batch ..."]


class BatchGroup(NamedTuple):
    """Stacked batches of one padded shape, sent to the device in one call of a training.

    Attributes:
      batches: arrays as those of a batch, `[group, batch, ...]`.
      count: number of batches; the remaining entries are empty.
    """

    batches: Any
    count: np.int32


VALIDATION = 2**32 - 1
"""The random stream that draws the validation split. To a `SeedSequence` (seed, number) is the same
as (seed, number, 0), which orders the batches of the epoch of that number."""

TEST = 2**32 - 2
"""The random stream that draws the test split, without a seed: it is the same for all runs."""


def hold_out(count: int, share: float, seed: int) -> tuple[Indices, Indices]:
    """Returns the training rows and the validation rows, drawn at random, both rising.

    Args:
      count: of the rows.
      share: of the validation rows; 0 for none.
      seed: of the draw.

    Raises:
      InputError: a share above 0 leaves no row on one of the sides.
    """
    held_out = round(share * count)
    if share and not 0 < held_out < count:
        raise InputError(
            f"config.data.validation: {share} of {count} training rows is {held_out}; expected at "
            "least one row on either side, so take more rows"
        )
    order = permutation(count, seed, VALIDATION)
    return np.sort(order[held_out:]), np.sort(order[:held_out])


def permutation(count: int, *seeds: int) -> Indices:
    """Returns a random permutation of `range(count)` that follows from the seeds alone.

    It is read off the raw stream of PCG64, which NumPy promises never to change, as it does not
    for the methods of its Generator (NumPy enhancement proposal 19).
    """
    stream = np.random.PCG64(np.random.SeedSequence(seeds))
    return narrow(np.argsort(stream.random_raw(count), kind="stable"))


def choose_boundaries(
    lengths: Int[np.ndarray, " examples"],
    max_boundaries: int,
    batch_size: int = 1,
    boundary_cost: float = 0.0,
) -> tuple[int, ...]:
    """Chooses the bucket boundaries, rising padded lengths, of least total cost.

    Each example goes into the bucket of the smallest boundary that holds it. A batch, a partly
    filled one too, costs its boundary, and each boundary costs `boundary_cost`. The optimum is
    found by dynamic programming over the lengths that occur, at most 512 quantiles of them.

    Args:
      lengths: of the examples, at least one.
      max_boundaries: most boundaries.
      batch_size: examples of a batch.
      boundary_cost: cost of one more boundary, in time steps of a batch.
    """
    unique, counts = np.unique(np.maximum(lengths, 1), return_counts=True)
    if len(unique) > 512:
        quantiles = np.unique(np.quantile(unique, np.linspace(0, 1, 512), method="higher"))
        bins = np.searchsorted(quantiles, unique)
        unique, counts = quantiles, np.bincount(bins, weights=counts, minlength=len(quantiles))
    cumulative = np.concatenate([[0], np.cumsum(counts)])  # examples up to each candidate
    # steps[i, j]: cost of one bucket for the examples after candidate i and up to j.
    batches = np.ceil((cumulative[None, 1:] - cumulative[:, None]) / batch_size)
    steps = np.where(batches > 0, batches * unique, np.inf) + boundary_cost
    # cost[j]: the least for the examples up to candidate j, with one more boundary in each round.
    cost = np.concatenate([[0.0], np.full(len(unique), np.inf)])
    rounds = []
    for _ in range(min(max_boundaries, len(unique))):
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


class BucketedBatches:
    """Base class of splits in buckets: `batch_at(seed, step)` is a pure function.

    A subclass is a frozen dataclass. It gives the attributes below, the buckets, the padded shape
    of a batch and its arrays.

    Attributes:
      batch_size: rows of a batch.
      shuffle: a new order every epoch; otherwise that of the examples.
      group_size: most batches of a `BatchGroup`. Shuffled batches of one padded shape are
        arranged in runs of that size.
    """

    batch_size: int
    shuffle: bool
    group_size: int

    @functools.cached_property
    def _buckets(self) -> list[Indices]:
        """The examples that may share a batch."""
        raise NotImplementedError

    def _padded_shape(self, indices: Indices) -> Shape:
        """Returns the lengths to which a batch of these examples is padded."""
        raise NotImplementedError

    def _collate(self, batches: list[Indices], size: int, shape: Shape) -> Any:
        """Returns the stacked arrays of batches, followed by empty ones up to `size`."""
        raise NotImplementedError

    @property
    def steps_per_epoch(self) -> int:
        """Number of batches, the same in every epoch."""
        return sum(-(-len(bucket) // self.batch_size) for bucket in self._buckets)

    def empty_batches(self) -> list[Any]:
        """Returns an empty batch of each shape that the first epoch of seed 0 has."""
        return [self._batch(np.zeros(0, np.int64), shape) for shape in self._used_shapes]

    def empty_batch_groups(self) -> list[BatchGroup]:
        """Returns an empty group of each shape that the first epoch of seed 0 has."""
        return [self._batch_group([], shape) for shape in self._used_shapes]

    @property
    def _used_shapes(self) -> list[Shape]:
        return sorted({self._padded_shape(group[0]) for group in self._arrange(0, 0)})

    def indices_at(self, seed: int, step: int) -> Indices:
        """Returns the examples of a batch; every example is in one batch of each epoch."""
        group, position = self._locate(seed, step)
        return group[position]

    def batch_at(self, seed: int, step: int) -> Any:
        """Returns the batch of a step, counted over all epochs."""
        group, position = self._locate(seed, step)
        return self._batch(group[position], self._padded_shape(group[0]))

    def batch_group_at(self, seed: int, step: int, limit: int) -> BatchGroup:
        """Returns the batches from a step to the end of its group, at most `limit`."""
        group, position = self._locate(seed, step)
        return self._batch_group(group[position : position + limit], self._padded_shape(group[0]))

    def stack_batches(self, seed: int, steps: range, shape: Shape) -> BatchGroup:
        """Stacks the batches of some steps, all padded to the same lengths."""
        return self._batch_group([self.indices_at(seed, step) for step in steps], shape)

    def padded_shape_at(self, seed: int, step: int) -> Shape:
        """Returns the lengths to which the batch of a step is padded."""
        return self._padded_shape(self.indices_at(seed, step))

    def _locate(self, seed: int, step: int) -> tuple[list[Indices], int]:
        """Returns the group of a step, and the position of the step in it."""
        epoch, index = divmod(step, self.steps_per_epoch)
        groups, ends = self._epoch(seed, epoch)
        number = int(np.searchsorted(ends, index, side="right"))
        return groups[number], index - int(ends[number]) + len(groups[number])

    @functools.cached_property
    def _epoch(self):
        # Successive steps ask for the same epoch; the cache changes no result.
        return functools.lru_cache(maxsize=2)(self._groups_and_ends)

    def _groups_and_ends(self, seed: int, epoch: int) -> tuple[list[list[Indices]], Indices]:
        groups = self._arrange(seed, epoch)
        return groups, np.cumsum([len(group) for group in groups])

    def _arrange(self, seed: int, epoch: int) -> list[list[Indices]]:
        """Returns the batches of an epoch in their order, in groups of one padded shape."""

        def order(count: int, stream: int) -> Indices:
            return permutation(count, seed, epoch, stream) if self.shuffle else np.arange(count)

        buckets = [rows[order(len(rows), 1 + n)] for n, rows in enumerate(self._buckets)]
        batches = [
            bucket[start : start + self.batch_size]
            for bucket in buckets
            for start in range(0, len(bucket), self.batch_size)
        ]
        groups = self._group_by_shape(batches)
        return [groups[index] for index in order(len(groups), 0)]

    def _group_by_shape(self, batches: list[Indices]) -> list[list[Indices]]:
        groups, open_groups = [], {}
        for indices in batches:
            shape = self._padded_shape(indices)
            if not self.shuffle and shape not in open_groups:
                open_groups = {}  # a fixed order joins neighbours alone
            if len(open_groups.get(shape, ())) in (0, self.group_size):
                open_groups[shape] = []
                groups.append(open_groups[shape])
            open_groups[shape].append(indices)
        return groups

    def _batch(self, indices: Indices, shape: Shape) -> Any:
        batch = self._collate([indices], 1, shape)
        return type(batch)(*(array[0] for array in batch))

    def _batch_group(self, batches: list[Indices], shape: Shape) -> BatchGroup:
        return BatchGroup(self._collate(batches, self.group_size, shape), np.int32(len(batches)))

    def _index_array(self, batches: list[Indices], size: int) -> Int[np.ndarray, "size batch"]:
        """Returns the examples of batches as one array, -1 where there is none."""
        array = np.full((size, self.batch_size), -1)
        for row, indices in enumerate(batches):
            array[row, : len(indices)] = indices
        return array


@dataclasses.dataclass(frozen=True, eq=False)
class Batches(BucketedBatches):
    """Batches of sequences with a target for each, or for each step.

    Attributes:
      sequences: the inputs of the examples.
      targets: `[examples, ...]`, or `Sequences` as long as the inputs.
      batch_size: as for `BucketedBatches`.
      boundaries: rising lengths to which batches are padded, of another split say: those beyond the
        longest example are dropped, and its length is added where it exceeds them.
      bucketing: the examples of a batch have the same boundary.
      shuffle: as for `BucketedBatches`.
      mask_padding: the mask is False on padding. Otherwise it is True up to the longest example of
        the batch.
      group_size: as for `BucketedBatches`.
      example_weights: of the examples in loss and metrics; None for 1.
    """

    sequences: Sequences
    targets: Any
    batch_size: int
    boundaries: tuple[int, ...] = ()
    bucketing: bool = True
    shuffle: bool = True
    mask_padding: bool = True
    group_size: int = 1
    example_weights: Float32[np.ndarray, " examples"] | None = None

    def __post_init__(self) -> None:
        """Checks the targets, and fits the boundaries to the longest example.

        Raises:
          InputError: there is not one target for each sequence or step, or a class is negative.
        """
        values = self.targets
        if isinstance(values, Sequences):
            is_aligned = np.array_equal(values.lengths, self.sequences.lengths)
            values = values.values
        else:
            is_aligned = len(values) == len(self.sequences)
        if not is_aligned:
            raise InputError(
                f"targets: given {len(self.targets)} for {len(self.sequences)} sequences, or of "
                "other lengths; expected one for each sequence, or for each of its steps"
            )
        if np.issubdtype(values.dtype, np.integer) and np.any(values < 0):
            raise InputError(
                f"targets: given the class {values.min()}, expected 0 or more; cut steps that have "
                "none off, or give them a class of their own"
            )
        length = longest(self.sequences)
        shorter = [boundary for boundary in self.boundaries if boundary < length]
        last = next((boundary for boundary in self.boundaries if boundary >= length), length)
        object.__setattr__(self, "boundaries", (*shorter, last))

    def __len__(self) -> int:
        return len(self.sequences)

    @property
    def tokens(self) -> Int32[np.ndarray, " tokens"]:
        """The tokens of all examples; none of numbers."""
        values = self.sequences.values
        is_token = values.dtype in (np.int32, np.uint16)
        return values if is_token else np.zeros(0, np.int32)

    @functools.cached_property
    def _buckets(self) -> list[Indices]:
        if not self.bucketing:
            return [narrow(np.arange(len(self.sequences)))]
        return split_buckets(narrow(np.searchsorted(self.boundaries, self.sequences.lengths)))

    def _padded_shape(self, indices: Indices) -> Shape:
        length = self.sequences.lengths[indices].max()
        return (self.boundaries[np.searchsorted(self.boundaries, length)],)

    def _collate(self, batches: list[Indices], size: int, shape: Shape) -> Batch:
        indices = self._index_array(batches, size)
        valid = indices >= 0
        inputs, mask = self.sequences.pad(indices, *shape)
        if isinstance(self.targets, Sequences):
            targets, weights = self.targets.pad(indices, *shape)
        else:
            targets, weights = self.targets[indices], valid
            targets[~valid] = 0
        if self.example_weights is not None:
            factors = self.example_weights[indices]
            weights = weights * (factors[..., None] if weights.ndim > factors.ndim else factors)
        if not self.mask_padding:
            length = mask.sum(axis=-1).max(axis=-1)[:, None, None]
            mask = np.broadcast_to(np.arange(mask.shape[-1]) < length, mask.shape)
        return Batch(inputs, mask, targets, weights.astype(np.float32))

    def restore_order(self, outputs: Sequence[np.ndarray]) -> Sequence[np.ndarray] | np.ndarray:
        """Returns the outputs for each example, without filling rows and, of steps, padding.

        They are an array `[examples, ...]`, or where the targets are of steps a list of arrays.

        Args:
          outputs: `[batch, ...]` for each batch of an epoch of seed 0, in their order. The second
            axis is time where the targets are of steps.
        """
        batches = [self.indices_at(0, step) for step in range(len(outputs))]
        if not isinstance(self.targets, Sequences):
            rows = np.empty((len(self), *outputs[0].shape[1:]), outputs[0].dtype)
            for indices, values in zip(batches, outputs, strict=True):
                rows[indices] = values[: len(indices)]
            return rows
        steps: list[Any] = [None] * len(self)
        for indices, values in zip(batches, outputs, strict=True):
            for row, value in zip(indices, values, strict=False):
                steps[row] = value[: self.sequences.lengths[row]]
        return steps


_COMPILE_COST = 300
"""Training steps that take about as long as compiling for one more padded length: from 100 for a
two-layer bidirectional LSTM(64) to 1,000 for a simple RNN(16), on two cores."""


def fit_boundaries(
    batches: Batches, max_boundaries: int, *, epochs: int = 1, seed: int = 0
) -> Batches:
    """Replaces the padded lengths of batches by those that take the least time.

    Args:
      batches: of sequences whose lengths decide.
      max_boundaries: most padded lengths.
      epochs: passes over the batches, among which the cost of compiling is shared out.
      seed: of the first epoch, whose batches decide where they are not bucketed.
    """
    lengths, batch_size = batches.sequences.lengths, batches.batch_size
    batches = dataclasses.replace(batches, boundaries=())
    if not batches.bucketing:
        # Another epoch puts other texts together, but the longest fits the last boundary.
        steps = range(batches.steps_per_epoch)
        lengths = np.array([lengths[batches.indices_at(seed, step)].max() for step in steps])
        batch_size = 1
    cost = _COMPILE_COST * float(lengths.mean()) / epochs
    boundaries = choose_boundaries(lengths, max_boundaries, batch_size, cost)
    return dataclasses.replace(batches, boundaries=boundaries)


def split_buckets(buckets: Indices) -> list[Indices]:
    """Returns the examples of each bucket that has any, from the bucket of each example."""
    return [narrow(np.flatnonzero(buckets == bucket)) for bucket in np.unique(buckets)]
