"""What a run reads: a corpus, numbered, in batches."""

import dataclasses
from typing import Any, Generic, Protocol, TypeVar

import jax
import numpy as np
from jaxtyping import Int32

from rnnjax.data.batches import BatchGroup, Shape
from rnnjax.data.vocabulary import Vocabulary, unknown_share


class Split(Protocol):
    """The training, the validation or the test part: batches that follow from seed and step.

    A batch is a named tuple of arrays, `weights` among them: what in it counts, and how much.
    """

    @property
    def batch_size(self) -> int:
        """Rows of a batch."""
        ...

    @property
    def boundaries(self) -> tuple[Any, ...]:
        """The padded lengths, rising; where there are several kinds of sequences, tuples."""
        ...

    @property
    def group_size(self) -> int:
        """Most batches of a stack."""
        ...

    @property
    def tokens(self) -> Int32[np.ndarray, " tokens"]:
        """The tokens of all examples; none where nothing is text."""
        ...

    @property
    def steps_per_epoch(self) -> int:
        """Number of batches, the same in every epoch."""
        ...

    def __len__(self) -> int:
        """Returns the number of examples."""
        ...

    def batch_at(self, seed: int, step: int) -> Any:
        """Returns the batch of a step, counted over all epochs."""
        ...

    def padded_shape_at(self, seed: int, step: int) -> Shape:
        """Returns the lengths to which the batch of a step is padded."""
        ...

    def batch_group_at(self, seed: int, step: int, most: int) -> BatchGroup:
        """Returns the batches from a step on that go to the device together, at most so many."""
        ...

    def stack_batches(self, seed: int, steps: range, shape: Shape) -> BatchGroup:
        """Returns the batches of some steps, all padded to the same lengths."""
        ...

    def empty_batches(self) -> list[Any]:
        """Returns a batch of no examples of each shape that is sure to come."""
        ...

    def empty_batch_groups(self) -> list[BatchGroup]:
        """Returns a stack of no batches of each shape that is sure to come."""
        ...


class FixedShape:
    """What a part shares of which all batches have one shape: a part derives from it."""

    boundaries: tuple[int, ...]
    group_size: int

    def batch_at(self, seed: int, step: int) -> Any:
        """Returns the batch of a step, counted over all epochs."""
        raise NotImplementedError

    def padded_shape_at(self, seed: int, step: int) -> Shape:
        """Returns the number of steps of a batch."""
        del seed, step
        return self.boundaries

    def batch_group_at(self, seed: int, step: int, most: int) -> BatchGroup:
        """Returns the batches from a step on, at most a group and `most`."""
        steps = range(step, step + min(most, self.group_size))
        return self.stack_batches(seed, steps, self.boundaries)

    def stack_batches(self, seed: int, steps: range, shape: Shape) -> BatchGroup:
        """Returns the batches of some steps, and blank ones up to a group."""
        del shape
        batches = [self.batch_at(seed, step) for step in steps]
        if len(batches) < self.group_size:
            batches += self.empty_batches() * (self.group_size - len(batches))
        return BatchGroup(
            jax.tree.map(lambda *each: np.stack(each), *batches), np.int32(len(steps))
        )

    def empty_batches(self) -> list[Any]:
        """Returns a batch of nothing, since all batches have one shape."""
        return [jax.tree.map(np.zeros_like, self.batch_at(0, 0))]

    def empty_batch_groups(self) -> list[BatchGroup]:
        """Returns a stack of no batches."""
        return [self.stack_batches(0, range(0), self.boundaries)]


P_co = TypeVar("P_co", bound=Split, covariant=True)


@dataclasses.dataclass(frozen=True)
class Dataset(Generic[P_co]):
    """What a run reads.

    Attributes:
      corpus: where the examples come from.
      vocabulary: fitted on the training part; None where nothing is text.
      train: what is trained on.
      validation: what is held out of it; None if nothing is.
      test: what is reported.
    """

    corpus: Any
    vocabulary: Vocabulary | None
    train: P_co
    validation: P_co | None
    test: P_co

    @property
    def fallback_fields(self) -> dict[str, str]:
        """What marks every file of a run that was trained on fallback data; empty otherwise."""
        fallback = self.corpus.fallback
        return {"data": f"{fallback} (fallback)"} if fallback else {}

    @property
    def vocab_size(self) -> int:
        """Size of the vocabulary; 0 without one."""
        return len(self.vocabulary) if self.vocabulary else 0

    def describe(self) -> dict[str, Any]:
        """Returns what a run's files say of it, ready for JSON."""
        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        told = {
            **self.corpus.describe(),
            "rows": {name: len(part) if part else 0 for name, part in parts.items()},
        }
        if self.vocabulary:
            told["vocabulary"] = self.vocab_size
            told["unknown_share"] = unknown_share(self.train.tokens)
        return told


@dataclasses.dataclass(frozen=True)
class TextDataset(Dataset[P_co]):
    """What a run reads whose examples are text."""

    vocabulary: Vocabulary
