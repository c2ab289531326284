"""What a run reads: a corpus, numbered, in batches."""

import dataclasses
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from jaxtyping import Int32

from rnnjax.data.batches import Shape, Stack
from rnnjax.data.text import Vocabulary, unknown_share


class Part(Protocol):
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
    def group(self) -> int:
        """Most batches of a stack."""
        ...

    @property
    def tokens(self) -> Int32[np.ndarray, " tokens"]:
        """The tokens of all examples."""
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

    def padded_at(self, seed: int, step: int) -> Shape:
        """Returns the lengths to which the batch of a step is padded."""
        ...

    def stack_at(self, seed: int, step: int, most: int) -> Stack:
        """Returns the batches from a step on that go to the device together, at most so many."""
        ...

    def stack_of(self, seed: int, steps: range, shape: Shape) -> Stack:
        """Returns the batches of some steps, all padded to the same lengths."""
        ...

    def blank_batches(self) -> list[Any]:
        """Returns a batch of no examples of each shape that is sure to come."""
        ...

    def blank_stacks(self) -> list[Stack]:
        """Returns a stack of no batches of each shape that is sure to come."""
        ...


P_co = TypeVar("P_co", bound=Part, covariant=True)


@dataclasses.dataclass(frozen=True)
class Dataset(Generic[P_co]):
    """What a run reads.

    Attributes:
      corpus: where the texts come from.
      vocabulary: fitted on the training part.
      train: what is trained on.
      validation: what is held out of it; None if nothing is.
      test: what is reported.
    """

    corpus: Any
    vocabulary: Vocabulary
    train: P_co
    validation: P_co | None
    test: P_co

    @property
    def mark(self) -> dict[str, str]:
        """What every file of a run says that read something else than was asked for."""
        fallback = self.corpus.fallback
        return {"data": f"{fallback} (fallback)"} if fallback else {}

    def describe(self) -> dict[str, Any]:
        """Returns what a run's files say of it, ready for JSON."""
        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        return {
            **self.corpus.describe(),
            "rows": {name: len(part) if part else 0 for name, part in parts.items()},
            "vocabulary": len(self.vocabulary),
            "unknown_share": unknown_share(self.train.tokens),
        }
