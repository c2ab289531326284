"""Data sets: the training, validation and test batches of a corpus, with their vocabulary."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

import jax
import numpy as np
from jaxtyping import Int32

from rnnjax.config.schema import Config
from rnnjax.config.sections import DataConfig
from rnnjax.data.batches import Batches, BatchGroup, Shape, fit_boundaries, hold_out
from rnnjax.data.sequences import Indices, Sequences
from rnnjax.data.vocabulary import Vocabulary, unknown_share
from rnnjax.errors import InputError
from rnnjax.reporting.run_schema import DataSummary


class Split(Protocol):
    """The training, the validation or the test split: batches that follow from seed and step.

    A batch is a named tuple of arrays; its `weights` are those of the mean in loss and metrics.
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
        """Most batches of a `BatchGroup`."""
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

    def batch_group_at(self, seed: int, step: int, limit: int) -> BatchGroup:
        """Returns the batches from a step on that go to the device together, at most `limit`."""
        ...

    def stack_batches(self, seed: int, steps: range, shape: Shape) -> BatchGroup:
        """Stacks the batches of some steps, all padded to the same lengths."""
        ...

    def empty_batches(self) -> list[Any]:
        """Returns an empty batch of each shape that is sure to come."""
        ...

    def empty_batch_groups(self) -> list[BatchGroup]:
        """Returns an empty group of each shape that is sure to come."""
        ...


class FixedShape:
    """Base class of splits whose batches all have one shape."""

    boundaries: tuple[int, ...]
    group_size: int

    @property
    def tokens(self) -> Int32[np.ndarray, " tokens"]:
        """No tokens, unless a subclass has some."""
        return np.zeros(0, np.int32)

    def batch_at(self, seed: int, step: int) -> Any:
        """Returns the batch of a step, counted over all epochs."""
        raise NotImplementedError

    def padded_shape_at(self, seed: int, step: int) -> Shape:
        """Returns the number of time steps of a batch."""
        del seed, step
        return self.boundaries

    def batch_group_at(self, seed: int, step: int, limit: int) -> BatchGroup:
        """Returns the batches from a step on, at most a group and `limit`."""
        steps = range(step, step + min(limit, self.group_size))
        return self.stack_batches(seed, steps, self.boundaries)

    def stack_batches(self, seed: int, steps: range, shape: Shape) -> BatchGroup:
        """Stacks the batches of some steps, and empty ones up to a group."""
        del shape
        batches = [self.batch_at(seed, step) for step in steps]
        if len(batches) < self.group_size:
            batches += self.empty_batches() * (self.group_size - len(batches))
        stacked = jax.tree.map(lambda *arrays: np.stack(arrays), *batches)
        return BatchGroup(stacked, np.int32(len(steps)))

    def empty_batches(self) -> list[Any]:
        """Returns one empty batch, since all batches have one shape."""
        return [jax.tree.map(np.zeros_like, self.batch_at(0, 0))]

    def empty_batch_groups(self) -> list[BatchGroup]:
        """Returns one empty group."""
        return [self.stack_batches(0, range(0), self.boundaries)]


@dataclasses.dataclass(frozen=True)
class Source:
    """The corpus of a data set that is known by its description alone.

    Attributes:
      name: of the data.
      source: a sentence on where it comes from.
      fingerprint: SHA-256 of the data, as hexadecimal digits.
      metadata: further entries of its description, ready for JSON, which `Task.metadata_keys` may
        name.
      fallback: the corpus that replaces the one of the config; '' if none does.
    """

    name: str
    source: str
    fingerprint: str
    metadata: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    fallback: str = ""

    def __post_init__(self) -> None:
        """Raises InputError if an entry of the metadata has a name with a meaning of its own."""
        reserved = {*DataSummary.model_fields, "source"} & set(self.metadata)
        if reserved - {"classes"} or not isinstance(self.metadata.get("classes", []), list):
            raise InputError(
                f"metadata: given {sorted(reserved)}, which have a meaning of their own (classes: "
                "a list of names); expected other names"
            )

    def describe(self) -> dict[str, Any]:
        """Describes the data for the files of a run, ready for JSON."""
        names = ("name", "source", "fingerprint", "fallback")
        return {**{name: getattr(self, name) for name in names}, **self.metadata}


S_co = TypeVar("S_co", bound=Split, covariant=True)


@dataclasses.dataclass(frozen=True)
class Dataset(Generic[S_co]):
    """The splits of a run, and their corpus and vocabulary.

    Attributes:
      corpus: the source of the examples.
      vocabulary: fitted on the training split; None where nothing is text.
      train: the training split.
      validation: held out of the training split; None without validation.
      test: the split of the reported scores.
    """

    corpus: Any
    vocabulary: Vocabulary | None
    train: S_co
    validation: S_co | None
    test: S_co

    @property
    def fallback_fields(self) -> dict[str, str]:
        """Fields that mark every file of a run trained on fallback data; empty otherwise."""
        fallback = self.corpus.fallback
        return {"data": f"{fallback} (fallback)"} if fallback else {}

    @property
    def vocab_size(self) -> int:
        """Number of token ids; 0 without a vocabulary."""
        return len(self.vocabulary) if self.vocabulary else 0

    def describe(self) -> dict[str, Any]:
        """Describes the data for the files of a run, ready for JSON."""
        splits = {"train": self.train, "validation": self.validation, "test": self.test}
        description = {
            **self.corpus.describe(),
            "rows": {name: len(split) if split else 0 for name, split in splits.items()},
        }
        if self.vocabulary:
            description["vocabulary"] = self.vocab_size
            description["unknown_share"] = unknown_share(self.train.tokens)
        return description


def split_sequences(
    config: Config,
    source: Source,
    train: tuple[Sequences, Any],
    test: tuple[Sequences, Any],
) -> Dataset[Batches]:
    """Returns the data set of sequences with targets, in batches of few padded lengths.

    The validation split is drawn from the training part by the seed.

    Args:
      config: the data section, the batches, and the seed.
      source: of the data.
      train: inputs and targets of the training part, as for `Batches`.
      test: of the test part, likewise.

    Raises:
      InputError: there are too few rows for the validation split.
    """
    data = config.data
    rows, held_out = hold_out(len(train[0]), data.validation, config.seed)

    def batches(part: tuple[Sequences, Any], rows: Indices | None, **options: Any) -> Batches:
        def take(values: Any) -> Any:
            if rows is None:
                return values
            return values.take(rows) if isinstance(values, Sequences) else values[rows]

        inputs, targets = map(take, part)
        return Batches(inputs, targets, config.batch_size, bucketing=data.bucketing, **options)

    fitted = fit_boundaries(
        batches(train, rows, shuffle=data.shuffle, group_size=config.steps_per_call),
        data.buckets,
        epochs=config.epochs,
        seed=config.seed,
    )
    evaluated = {"shuffle": False, "boundaries": fitted.boundaries}
    validation = batches(train, held_out, **evaluated) if len(held_out) else None
    return Dataset(source, None, fitted, validation, batches(test, None, **evaluated))


@dataclasses.dataclass(frozen=True)
class TextDataset(Dataset[S_co]):
    """A data set whose examples are text.

    A subclass says which texts they are.
    """

    vocabulary: Vocabulary

    def texts(self, config: DataConfig, split: str) -> Sequence[str]:
        """Returns the texts that the network reads of a split, 'train' or 'test'.

        The training texts include those of the validation split. There are none where one text is
        read from end to end.
        """
        raise NotImplementedError
