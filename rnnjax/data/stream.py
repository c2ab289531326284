"""Batches of running text, read on from batch to batch, as a pure function of seed and step."""

import dataclasses
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float32, Int32

from rnnjax.config import Config
from rnnjax.data.batches import Shape, Stack
from rnnjax.data.corpora import load as load_labelled
from rnnjax.data.corpora import texts
from rnnjax.data.corpora.texts import Texts
from rnnjax.data.dataset import Dataset
from rnnjax.data.text import END, Vocabulary
from rnnjax.errors import InputError


class Stretch(NamedTuple):
    """A few steps of as many places in a text as there are rows: what goes to the device at once.

    Each row goes on where it ended in the batch before.
    """

    tokens: Int32[np.ndarray, "batch time"]
    targets: Int32[np.ndarray, "batch time"]
    """The token that comes after each."""
    weights: Float32[np.ndarray, "batch time"]
    """1 where there is one, 0 beyond the end of what a row reads."""
    first: Bool[np.ndarray, ""]
    """Whether an epoch begins here, so that nothing was read before."""


@dataclasses.dataclass(frozen=True, eq=False)
class Stream:
    """A text cut into as many pieces of one length as a batch has rows, read side by side.

    Each epoch of a shuffled stream begins at another place, from which it is read in a circle, so
    that every token is to be predicted once an epoch and the cuts are elsewhere in the next.

    Attributes:
      tokens: int32, at least two.
      batch_size: rows of a batch.
      steps: of a batch; fewer if the pieces are shorter.
      shuffle: a new place every epoch; otherwise the beginning.
      group: most batches of a `Stack`.
    """

    tokens: Int32[np.ndarray, " tokens"]
    batch_size: int
    steps: int
    shuffle: bool = True
    group: int = 1

    def __len__(self) -> int:
        return len(self.tokens) - 1

    @property
    def _piece(self) -> int:
        return -(-len(self) // self.batch_size)

    @property
    def boundaries(self) -> tuple[int, ...]:
        """The number of steps of a batch."""
        return (min(self.steps, self._piece),)

    @property
    def steps_per_epoch(self) -> int:
        """Number of batches, the same in every epoch."""
        return -(-self._piece // self.boundaries[0])

    def batch_at(self, seed: int, step: int) -> Stretch:
        """Returns the batch of a step, counted over all epochs."""
        epoch, index = divmod(step, self.steps_per_epoch)
        (time,) = self.boundaries
        within = index * time + np.arange(time)
        places = self._piece * np.arange(self.batch_size)[:, None] + within
        there = (within < self._piece) & (places < len(self))
        source = np.where(there, (places + self._start(seed, epoch)) % len(self), 0)
        return Stretch(
            tokens=np.where(there, self.tokens[source], 0).astype(np.int32),
            targets=np.where(there, self.tokens[source + 1], 0).astype(np.int32),
            weights=there.astype(np.float32),
            first=np.asarray(index == 0),
        )

    def padded_at(self, seed: int, step: int) -> Shape:
        """Returns the number of steps of a batch."""
        del seed, step
        return self.boundaries

    def stack_at(self, seed: int, step: int, most: int) -> Stack:
        """Returns the batches from a step on, at most a group and `most`."""
        steps = range(step, step + min(most, self.group))
        return self.stack_of(seed, steps, self.boundaries)

    def stack_of(self, seed: int, steps: range, shape: Shape) -> Stack:
        """Returns the batches of some steps, and blank ones up to a group."""
        del shape
        batches = [self.batch_at(seed, step) for step in steps]
        batches += self.blank_batches() * (self.group - len(batches))
        return Stack(jax.tree.map(lambda *each: np.stack(each), *batches), np.int32(len(steps)))

    def blank_batches(self) -> list[Stretch]:
        """Returns a batch of nothing, since all batches have one shape."""
        return [jax.tree.map(np.zeros_like, self.batch_at(0, 0))]

    def blank_stacks(self) -> list[Stack]:
        """Returns a stack of no batches."""
        return [self.stack_of(0, range(0), self.boundaries)]

    def _start(self, seed: int, epoch: int) -> int:
        if not self.shuffle:
            return 0
        # The raw stream, which NumPy never changes, as for `rnnjax.data.batches.permutation`.
        stream = np.random.PCG64(np.random.SeedSequence((seed, epoch)))
        return int(stream.random_raw()) % len(self)


def load_corpus(config: Config) -> Texts:
    """Returns the texts of a config: a file, or a labelled corpus without its labels.

    Raises:
      InputError: they cannot be had, or are damaged.
    """
    given = config.data
    if given.file:
        return texts.read_lines(texts.Path(given.file))
    return texts.of_corpus(load_labelled(given.corpus, given.dir, given.fallback), given.text)


def make_dataset(
    config: Config, corpus: Texts, vocabulary: Vocabulary | None = None
) -> Dataset[Stream]:
    """Returns the batches of a config.

    The validation part is the end of the training texts, which a seed does not move. Between two
    documents, and at both ends of connected text, stands a token of its own, `END`.

    Args:
      config: what to take and how to batch it.
      corpus: as `load_corpus` returns it.
      vocabulary: None to fit it as the config says.

    Raises:
      InputError: there is too little text for what the config asks.
    """
    given = config.data
    train, test = (corpus.parts[name][: given.take or None] for name in ("train", "test"))
    held_out = round(given.validation * len(train))
    if given.validation and not 0 < held_out < len(train):
        raise InputError(
            f"config.data.validation: {given.validation} of {len(train)} training texts is "
            f"{held_out}; expected at least one on either side, so take more"
        )
    kept, validation = train[: len(train) - held_out], train[len(train) - held_out :]
    if vocabulary is None:
        wanted = given.vocabulary
        vocabulary = Vocabulary.fit(
            kept[: wanted.rows or None], wanted.size, wanted.unit, ends=True
        )

    def part(rows: list[str], **options: Any) -> Stream:
        tokens = numbered(rows, vocabulary, connected=corpus.connected)
        return Stream(tokens, config.batch_size, given.steps, **options)

    return Dataset(
        corpus=corpus,
        vocabulary=vocabulary,
        train=part(list(kept), shuffle=given.shuffle, group=config.steps_per_call),
        validation=part(list(validation), shuffle=False) if held_out else None,
        test=part(list(test), shuffle=False),
    )


def numbered(
    rows: list[str], vocabulary: Vocabulary, *, connected: bool
) -> Int32[np.ndarray, " tokens"]:
    """Returns the tokens of texts, an `END` before each and after the last.

    Args:
      rows: the texts.
      vocabulary: with ends.
      connected: the texts are one.
    """
    sequences = vocabulary.encode(["".join(rows)] if connected else rows)
    # Inserted before what stood there: the beginning of each text, and the end of all.
    return np.insert(sequences.tokens, sequences.offsets, END)
