"""Two small correct tasks, whose subclasses have one mistake each: rows, and a stream."""

import dataclasses
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from rnnjax.config.task_schema import TaskSchema
from rnnjax.data.batches import permutation
from rnnjax.data.dataset import Dataset, FixedShape
from rnnjax.tasks import Task

TIME, CLASSES = 6, 3


class RowBatch(NamedTuple):
    """Sequences of two numbers, and the class of each."""

    inputs: np.ndarray
    mask: np.ndarray
    targets: np.ndarray
    weights: np.ndarray


class StreamBatch(NamedTuple):
    """Numbers of a stream, and a class at every step."""

    inputs: np.ndarray
    mask: np.ndarray
    targets: np.ndarray
    weights: np.ndarray
    first: np.ndarray


@dataclasses.dataclass(frozen=True)
class Numbers:
    """Random numbers as a corpus."""

    fallback: str = ""

    def describe(self) -> dict[str, Any]:
        """Describes the corpus."""
        return {
            "name": "numbers",
            "source": "random numbers",
            "fingerprint": "0" * 64,
            "fallback": self.fallback,
        }


@dataclasses.dataclass(eq=False)
class Rows(FixedShape):
    """Sequences of 1 to 5 steps, padded to 6, whose class follows from their sum."""

    count: int
    batch_size: int
    stream: int
    shuffle: bool = False
    boundaries: tuple[int, ...] = (TIME,)
    group_size: int = 1

    def __post_init__(self):
        generator = np.random.default_rng(self.stream)
        self.inputs = generator.standard_normal((self.count, TIME, 2)).astype(np.float32)
        self.lengths = generator.integers(1, TIME, self.count)
        self.targets = generator.integers(0, CLASSES, self.count).astype(np.int32)

    def __len__(self) -> int:
        return self.count

    @property
    def steps_per_epoch(self) -> int:
        """Number of batches."""
        return -(-self.count // self.batch_size)

    def order(self, seed: int, epoch: int) -> np.ndarray:
        """Returns the order of the examples in an epoch."""
        return permutation(self.count, seed, epoch) if self.shuffle else np.arange(self.count)

    def indices(self, seed: int, step: int) -> np.ndarray:
        """Returns the examples of a batch."""
        epoch, index = divmod(step, self.steps_per_epoch)
        return self.order(seed, epoch)[index * self.batch_size :][: self.batch_size]

    def batch_at(self, seed: int, step: int) -> RowBatch:
        """Returns the batch of a step."""
        indices = self.indices(seed, step)
        filled = self.batch_size - len(indices)
        inputs, lengths, targets = (
            np.pad(array[indices], [(0, filled)] + [(0, 0)] * (array.ndim - 1))
            for array in (self.inputs, self.lengths, self.targets)
        )
        mask = np.arange(TIME) < lengths[:, None]
        weights = np.pad(np.ones(len(indices), np.float32), (0, filled))
        return RowBatch(np.where(mask[..., None], inputs, 0), mask, targets, weights)


@dataclasses.dataclass(eq=False)
class Stream(FixedShape):
    """A stream of numbers, read at as many places as a batch has rows."""

    count: int
    batch_size: int
    stream: int
    shuffle: bool = False
    boundaries: tuple[int, ...] = (TIME,)
    group_size: int = 1

    def __post_init__(self):
        generator = np.random.default_rng(self.stream)
        self.inputs = generator.standard_normal((self.count, 2)).astype(np.float32)
        self.targets = generator.integers(0, CLASSES, self.count).astype(np.int32)

    def __len__(self) -> int:
        return self.count

    @property
    def segment(self) -> int:
        """Steps of a row in an epoch."""
        return -(-self.count // self.batch_size)

    @property
    def steps_per_epoch(self) -> int:
        """Number of batches."""
        return -(-self.segment // TIME)

    def batch_at(self, seed: int, step: int) -> StreamBatch:
        """Returns the batch of a step."""
        epoch, index = divmod(step, self.steps_per_epoch)
        offsets = index * TIME + np.arange(TIME)
        positions = self.segment * np.arange(self.batch_size)[:, None] + offsets
        mask = (offsets < self.segment) & (positions < self.count)
        shift = permutation(self.count, seed, epoch)[0] if self.shuffle else 0
        source = np.where(mask, (positions + shift) % self.count, 0)
        return StreamBatch(
            inputs=np.where(mask[..., None], self.inputs[source], 0),
            mask=mask,
            targets=np.where(mask, self.targets[source], 0).astype(np.int32),
            weights=mask.astype(np.float32),
            first=np.full(self.batch_size, index == 0),
        )


class Pooled(nn.Module):
    """A hidden layer at every step, the mean over the real steps, and logits."""

    dropout: float = 0.0

    @nn.compact
    def __call__(self, inputs, mask):
        """Returns the logits of the classes."""
        inputs = jnp.where(mask[..., None], inputs, 0)
        hidden = nn.tanh(nn.Dense(4)(inputs))
        hidden = nn.Dropout(self.dropout, deterministic=not self.has_rng("dropout"))(hidden)
        return nn.Dense(CLASSES)(self.pool(hidden, mask))

    def pool(self, hidden, mask):
        """Returns the mean over the real steps."""
        count = jnp.maximum(mask.sum(axis=1, keepdims=True).astype(jnp.float32), 1.0)
        return jnp.where(mask[..., None], hidden, 0).sum(axis=1) / count


class Leaky(nn.Module):
    """A leaky sum of a hidden layer, and logits at every step."""

    @nn.compact
    def __call__(self, inputs, mask, state):
        """Returns the state after the last real step, and the logits of each step."""
        hidden = nn.tanh(nn.Dense(4)(jnp.where(mask[..., None], inputs, 0)))
        states = []
        for step in range(inputs.shape[1]):
            state = jnp.where(mask[:, step, None], 0.7 * state + hidden[:, step], state)
            states.append(state)
        return state, nn.Dense(CLASSES)(jnp.stack(states, axis=1))


def weighted_sums(logits, targets, weights):
    """Returns the sums of loss, accuracy and weights."""
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, targets)
    hits = jnp.argmax(logits, axis=-1) == targets
    return {
        "loss": jnp.sum(losses * weights),
        "accuracy": jnp.sum(jnp.where(hits, weights, 0)),
        "weight": jnp.sum(weights),
    }


@dataclasses.dataclass(frozen=True)
class RowTask(Task):
    """The class of each of a few sequences of numbers."""

    schema = TaskSchema(name="rows", keys=("model.dropout", "data.shuffle"))
    splits = Rows
    network = Pooled

    @staticmethod
    def load_corpus(config):
        """Returns the numbers."""
        return Numbers()

    @classmethod
    def make_splits(cls, config):
        """Returns the splits: 14 examples for training, 5 for testing."""
        size, shuffle = config.batch_size, config.data.shuffle
        return cls.splits(14, size, 1, shuffle=shuffle), cls.splits(5, size, 2)

    @classmethod
    def make_dataset(cls, config, corpus, vocabulary=None, sibling=None):
        """Returns the data."""
        train, test = cls.make_splits(config)
        return Dataset(corpus, None, train, None, test)

    @classmethod
    def from_config(cls, config, vocab_size, metadata):
        """Builds the task of a config."""
        return cls(cls.network(dropout=config.model.dropout))

    def input_shapes(self, batch_size=1, lengths=(1,)):
        """Returns shapes and dtypes of inputs and mask."""
        shape = (batch_size, *lengths)
        inputs = jax.ShapeDtypeStruct((*shape, 2), jnp.float32)
        return inputs, jax.ShapeDtypeStruct(shape, jnp.bool_)

    def logits(self, params, batch, **options) -> Any:
        """Returns the logits of each row."""
        return self.model.apply({"params": params}, batch.inputs, batch.mask, **options)

    def batch_sums(self, params, batch, carry, **options):
        """Returns the sums of a batch."""
        logits = self.logits(params, batch, **options)
        return weighted_sums(logits, batch.targets, batch.weights), carry


@dataclasses.dataclass(frozen=True)
class StreamTask(RowTask):
    """A class at every step of a stream of numbers."""

    schema = TaskSchema(name="stream", keys=("data.shuffle",), ordered=True)
    splits = Stream
    network = Leaky

    @classmethod
    def make_splits(cls, config):
        """Returns the splits: 70 steps for training, 50 for testing."""
        size, shuffle = config.batch_size, config.data.shuffle
        return cls.splits(70, size, 1, shuffle=shuffle), cls.splits(50, size, 2)

    @classmethod
    def from_config(cls, config, vocab_size, metadata):
        """Builds the task of a config."""
        return cls(cls.network())

    def input_shapes(self, batch_size=1, lengths=(1,)):
        """Returns shapes and dtypes of inputs, mask and state."""
        state = jax.ShapeDtypeStruct((batch_size, 4), jnp.float32)
        return (*super().input_shapes(batch_size, lengths), state)

    def initial_carry(self, batch_size):
        """Returns zeros."""
        return jnp.zeros((batch_size, 4))

    def initial_state(self, batch, carry):
        """Returns the carry, reset where a row begins anew."""
        return jnp.where(batch.first[:, None], jnp.zeros_like(carry), carry)

    def batch_sums(self, params, batch, carry, **options):
        """Returns the sums of a batch, and the state after it."""
        state, logits = self.model.apply(
            {"params": params}, batch.inputs, batch.mask, self.initial_state(batch, carry)
        )
        return weighted_sums(logits, batch.targets, batch.weights), state


@dataclasses.dataclass(frozen=True)
class RandomTask(RowTask):
    """A task with dropout of its own, which no key of the config turns off."""

    @classmethod
    def from_config(cls, config, vocab_size, metadata):
        """Builds the task, with dropout."""
        return cls(cls.network(dropout=0.5))


class UnmaskedBatch(NamedTuple):
    """Sequences of one length, and the class of each."""

    inputs: np.ndarray
    targets: np.ndarray
    weights: np.ndarray


class UnmaskedRows(Rows):
    """Sequences of one length."""

    def batch_at(self, seed: int, step: int) -> Any:
        """Returns a batch without a mask."""
        batch = super().batch_at(seed, step)
        return UnmaskedBatch(batch.inputs, batch.targets, batch.weights)


@dataclasses.dataclass(frozen=True)
class UnmaskedTask(RowTask):
    """A task whose batches have no mask."""

    splits = UnmaskedRows

    def logits(self, params, batch, **options):
        """Returns the logits of each row, all steps of which are real."""
        mask = jnp.ones(batch.inputs.shape[:2], bool)
        return self.model.apply({"params": params}, batch.inputs, mask, **options)


class TupleRows(Rows):
    """Batches are plain tuples."""

    def batch_at(self, seed: int, step: int) -> Any:
        """Returns a tuple of arrays."""
        return tuple(super().batch_at(seed, step))


@dataclasses.dataclass(frozen=True)
class TupleTask(RowTask):
    """A task whose batches have no weights."""

    splits = TupleRows
