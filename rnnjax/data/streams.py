"""Streams for truncated backpropagation through time: a batch continues the one before it."""

import dataclasses
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int, Shaped

from rnnjax.data.array_files import release_pages
from rnnjax.data.dataset import FixedShape

_CUTS = 1
"""Sets the random numbers of the lengths apart from those of restarts."""


class StreamBatch(NamedTuple):
    """Consecutive steps at as many places of a stream as there are rows, and their targets.

    Each row continues the same row of the previous batch.
    """

    inputs: Shaped[np.ndarray, "batch time *features"]
    targets: Shaped[np.ndarray, "batch time"]
    """Of each step."""
    mask: Bool[np.ndarray, "batch time"]
    """False on padding."""
    weights: Float32[np.ndarray, "batch time"]
    """Weights of the loss: 1 at the steps that are scored, 0 elsewhere."""
    first: Bool[np.ndarray, " batch"]
    """Whether a row restarts here from the initial state."""


@dataclasses.dataclass(frozen=True, eq=False)
class Stream(FixedShape):
    """A long sequence cut into equal segments, one for each row of a batch, read side by side.

    Each epoch of a shuffled stream begins at another position, from which it is read in a circle,
    so that every step is predicted once an epoch and the next epoch is cut elsewhere. A row
    restarts at the beginning of an epoch, and at random within it.

    Attributes:
      inputs: int32 tokens, uint16 in a file of few, or float32 `[steps, features]`.
      targets: of each step.
      batch_size: rows of a batch.
      sequence_length: time steps of a batch; fewer if the segments are shorter.
      shuffle: a new starting position every epoch; otherwise the beginning.
      restarts: probability that a row of a batch restarts.
      length_variation: largest relative difference of the length of a batch from
        `sequence_length`, below 1. Batches end at places that are drawn for each epoch; their
        number is that of equal lengths, and all are padded to the longest. Merity, Keskar, Socher,
        Regularizing and optimizing LSTM language models, ICLR 2018, who draw lengths from a normal
        distribution and scale the learning rate by them.
      warm_up: steps before its segment that a row reads, where there are so many.
      group_size: most batches of a `BatchGroup`.
      restart_input: the input of a step at which a row restarts; None for its own.
    """

    inputs: Shaped[np.ndarray, "steps ..."]
    targets: Shaped[np.ndarray, " steps"]
    batch_size: int
    sequence_length: int
    shuffle: bool = True
    restarts: float = 0.0
    length_variation: float = 0.0
    warm_up: int = 0
    group_size: int = 1
    restart_input: int | None = None

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def _segment(self) -> int:
        return -(-len(self) // self.batch_size)

    @property
    def boundaries(self) -> tuple[int, ...]:
        """The number of time steps of a batch, padded."""
        longest = self._mean_length + 2 * self._largest_shift
        return (min(longest, self._segment + self.warm_up),)

    @property
    def steps_per_epoch(self) -> int:
        """Number of batches, the same in every epoch."""
        return -(-(self._segment + self.warm_up) // self._mean_length)

    @property
    def _mean_length(self) -> int:
        return min(self.sequence_length, self._segment + self.warm_up)

    @property
    def _largest_shift(self) -> int:
        """Steps by which the end of a batch is at most earlier or later."""
        return int(self.length_variation * self._mean_length / 2)

    def batch_at(self, seed: int, step: int) -> StreamBatch:
        """Returns the batch of a step, counted over all epochs."""
        epoch, index = divmod(step, self.steps_per_epoch)
        (time,) = self.boundaries
        start, end = (self._cut(seed, epoch, place) for place in (index, index + 1))
        offsets = start + np.arange(time) - self.warm_up
        positions = self._segment * np.arange(self.batch_size)[:, None] + offsets
        mask = (
            (offsets < min(self._segment, end - self.warm_up))
            & (positions >= 0)
            & (positions < len(self))
        )
        source = np.where(mask, (positions + self._start(seed, epoch)) % len(self), 0)
        first = self._first(seed, epoch, index)
        inputs, targets = _take(self.inputs, source), _take(self.targets, source)
        inputs[~mask] = 0
        targets[~mask] = 0
        if self.restart_input is not None:
            inputs[first, 0] = self.restart_input
        return StreamBatch(
            inputs=inputs,
            targets=targets,
            mask=mask,
            weights=(mask & (offsets >= 0)).astype(np.float32),
            first=first,
        )

    def _cut(self, seed: int, epoch: int, index: int) -> int:
        """Returns the step of a row at which a batch begins, and the one before it ends."""
        cut = index * self._mean_length
        if not self._largest_shift or index in (0, self.steps_per_epoch):
            return cut
        stream = np.random.PCG64(np.random.SeedSequence((seed, epoch, index, _CUTS)))
        choices = 2 * self._largest_shift + 1
        cut += int(stream.random_raw() % choices) - self._largest_shift
        return min(cut, self._segment + self.warm_up - 1)  # the last batch has a step

    def _first(self, seed: int, epoch: int, index: int) -> Bool[np.ndarray, " batch"]:
        if not (index and self.restarts):
            return np.full(self.batch_size, not index)
        stream = np.random.PCG64(np.random.SeedSequence((seed, epoch, index)))
        return stream.random_raw(self.batch_size) < np.uint64(self.restarts * 2.0**64)

    def _start(self, seed: int, epoch: int) -> int:
        if not self.shuffle:
            return 0
        # The raw stream, which NumPy never changes, as for `rnnjax.data.batches.permutation`.
        stream = np.random.PCG64(np.random.SeedSequence((seed, epoch)))
        return int(stream.random_raw()) % len(self)


def _take(values: Shaped[np.ndarray, "steps ..."], source: Int[np.ndarray, "batch time"]) -> Any:
    taken = values[source]
    release_pages(values)
    return taken.astype(np.int32) if taken.dtype == np.uint16 else taken
