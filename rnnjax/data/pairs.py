"""Batches of pairs: a sequence of tokens to read, and one to predict."""

import dataclasses
import functools
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int, Int32

from rnnjax.data.batches import BucketedBatches, Shape, choose_boundaries, split_buckets
from rnnjax.data.sequences import Indices, Sequences
from rnnjax.data.vocabulary import END


class PairBatch(NamedTuple):
    """Padded sentence pairs. Rows whose weights are all zero are padding of the batch itself.

    Attributes:
      source: tokens of the source.
      source_mask: False on padding.
      inputs: the target shifted right: `END`, then each target token but the last.
      targets: tokens of the target, `END` at the last step.
      weights: 1 for each of them, `END` included; 0 on padding.
    """

    source: Int32[np.ndarray, "batch source"]
    source_mask: Bool[np.ndarray, "batch source"]
    inputs: Int32[np.ndarray, "batch time"]
    targets: Int32[np.ndarray, "batch time"]
    weights: Float32[np.ndarray, "batch time"]


@dataclasses.dataclass(frozen=True, eq=False)
class PairBatches(BucketedBatches):
    """Batches of sentence pairs; the pairs of a batch share their padded lengths.

    Attributes:
      sources: tokens of the sources.
      targets: tokens of the targets, without ends.
      batch_size: as for `BucketedBatches`.
      shapes: padded lengths of source and target, the end included. Each pair goes into the
        smallest shape that holds it, and some shape does.
      shuffle: as for `BucketedBatches`.
      group_size: as for `BucketedBatches`.
    """

    sources: Sequences
    targets: Sequences
    batch_size: int
    shapes: tuple[Shape, ...]
    shuffle: bool = True
    group_size: int = 1

    def __len__(self) -> int:
        return len(self.sources)

    @property
    def boundaries(self) -> tuple[Shape, ...]:
        """The padded lengths of source and target."""
        return self.shapes

    @property
    def tokens(self) -> Int32[np.ndarray, " tokens"]:
        """The tokens of all sources and targets."""
        return np.concatenate([self.sources.values, self.targets.values])

    @functools.cached_property
    def _bucket(self) -> Int[np.ndarray, " pairs"]:
        """The number of the shape of each pair."""
        fits = _fit(self.shapes, self.sources, self.targets)
        return np.argmin(np.where(fits, np.sum(self.shapes, axis=1), np.inf), axis=1)

    @functools.cached_property
    def _buckets(self) -> list[Indices]:
        return split_buckets(self._bucket)

    def _padded_shape(self, indices: Indices) -> Shape:
        return self.shapes[self._bucket[indices[0]]]

    def _collate(self, batches: list[Indices], size: int, shape: Shape) -> PairBatch:
        indices = self._index_array(batches, size)
        source, source_mask = self.sources.pad(indices, shape[0])
        target, mask = self.targets.pad(indices, shape[1])
        valid = np.broadcast_to((indices >= 0)[..., None], (*indices.shape, 1))
        # The mask shifted right has one more step, for the end.
        weights = np.concatenate([valid, mask[..., :-1]], axis=-1)
        inputs = np.concatenate([np.where(valid, END, 0), target[..., :-1]], axis=-1)
        return PairBatch(
            source=source,
            source_mask=source_mask,
            inputs=inputs.astype(np.int32),
            targets=np.where(weights & ~mask, END, target).astype(np.int32),
            weights=weights.astype(np.float32),
        )


def _fit(
    shapes: tuple[Shape, ...], sources: Sequences, targets: Sequences
) -> Bool[np.ndarray, "pairs shapes"]:
    """Returns whether each shape holds each pair, the end included."""
    source, target = np.array(shapes).T
    return (sources.lengths[:, None] <= source) & (targets.lengths[:, None] + 1 <= target)


def choose_shapes(
    sources: Sequences,
    targets: Sequences,
    max_shapes: int,
    batch_size: int = 1,
    shape_cost: float = 0.0,
) -> tuple[Shape, ...]:
    """Chooses padded lengths of source and target, the end included, of low total cost.

    Pairs are divided by the length of the source, and within each range of it by the length of the
    target, both by `choose_boundaries`. Of the ways to divide `max_shapes` among the ranges evenly,
    the one with the fewest padded tokens is taken.

    Args:
      sources: tokens of the sources, at least one.
      targets: tokens of the targets, without ends.
      max_shapes: most shapes.
      batch_size: pairs of one batch.
      shape_cost: cost of one more shape, in tokens of a row of a batch.
    """
    lengths = sources.lengths, targets.lengths + 1
    choices = []
    for count in range(1, max_shapes + 1):
        lower, shapes, cost = -1, [], 0.0
        for source in choose_boundaries(lengths[0], count, batch_size):
            inside = lengths[1][(lengths[0] > lower) & (lengths[0] <= source)]
            lower = source
            ends = choose_boundaries(inside, max_shapes // count, batch_size, shape_cost)
            shapes += [(source, target) for target in ends]
            pairs = np.bincount(np.searchsorted(ends, inside), minlength=len(ends))
            tokens = np.ceil(pairs / batch_size) * (source + np.array(ends))
            cost += sum(tokens) + shape_cost * len(ends)
        choices.append((cost, tuple(shapes)))
    return min(choices)[1]


def extend_shapes(
    shapes: tuple[Shape, ...], sources: Sequences, targets: Sequences
) -> tuple[Shape, ...]:
    """Returns the shapes, and one more if some pair fits none of them."""
    if _fit(shapes, sources, targets).any(axis=1).all():
        return shapes
    return (*shapes, (int(sources.lengths.max()), int(targets.lengths.max()) + 1))
