"""Batches of running text, read on from batch to batch, as a pure function of seed and step."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int32

from rnnjax.config import Config
from rnnjax.config.schema import DataConfig
from rnnjax.data.corpora import load as load_labelled
from rnnjax.data.corpora import plain_text
from rnnjax.data.corpora.plain_text import TextCorpus
from rnnjax.data.dataset import FixedShape, TextDataset
from rnnjax.data.vocabulary import END, Vocabulary
from rnnjax.errors import InputError
from rnnjax.reporting.progress import Progress

_WARM_UP = 256
"""Tokens that a row of an evaluation reads before those that it is judged by, because a text that
begins in its middle is not what is to be predicted."""
_AT_ONCE = 10_000
"""Texts that are turned into numbers between two signs of progress."""


class LMBatch(NamedTuple):
    """A few steps of as many places in a text as there are rows: what goes to the device at once.

    Each row goes on where it ended in the batch before.
    """

    tokens: Int32[np.ndarray, "batch time"]
    targets: Int32[np.ndarray, "batch time"]
    """The token that comes after each."""
    mask: Bool[np.ndarray, "batch time"]
    """Where there is one."""
    weights: Float32[np.ndarray, "batch time"]
    """1 where it counts."""
    first: Bool[np.ndarray, " batch"]
    """Whether a row begins here, as if nothing had been read before."""


@dataclasses.dataclass(frozen=True, eq=False)
class TextStream(FixedShape):
    """A text cut into as many pieces of one length as a batch has rows, read side by side.

    Each epoch of a shuffled stream begins at another place, from which it is read in a circle, so
    that every token is to be predicted once an epoch and the cuts are elsewhere in the next. Rows
    begin with the epoch, and some of them anew where they go on; where one begins it reads `END`.

    Attributes:
      tokens: int32, at least two.
      batch_size: rows of a batch.
      steps: of a batch; fewer if the pieces are shorter.
      shuffle: a new place every epoch; otherwise the beginning.
      restarts: probability that a row of a batch begins anew.
      warm_up: tokens that a row reads before its piece, where there are so many.
      group_size: most batches of a `BatchGroup`.
    """

    tokens: Int32[np.ndarray, " tokens"]
    batch_size: int
    steps: int
    shuffle: bool = True
    restarts: float = 0.0
    warm_up: int = 0
    group_size: int = 1

    def __len__(self) -> int:
        return len(self.tokens) - 1

    @property
    def _piece(self) -> int:
        return -(-len(self) // self.batch_size)

    @property
    def boundaries(self) -> tuple[int, ...]:
        """The number of steps of a batch."""
        return (min(self.steps, self._piece + self.warm_up),)

    @property
    def steps_per_epoch(self) -> int:
        """Number of batches, the same in every epoch."""
        return -(-(self._piece + self.warm_up) // self.boundaries[0])

    def batch_at(self, seed: int, step: int) -> LMBatch:
        """Returns the batch of a step, counted over all epochs."""
        epoch, index = divmod(step, self.steps_per_epoch)
        (time,) = self.boundaries
        within = index * time + np.arange(time) - self.warm_up
        places = self._piece * np.arange(self.batch_size)[:, None] + within
        there = (within < self._piece) & (places >= 0) & (places < len(self))
        source = np.where(there, (places + self._start(seed, epoch)) % len(self), 0)
        tokens = np.where(there, self.tokens[source], 0)
        first = self._first(seed, epoch, index)
        tokens[first, 0] = END
        return LMBatch(
            tokens=tokens.astype(np.int32),
            targets=np.where(there, self.tokens[source + 1], 0).astype(np.int32),
            mask=there,
            weights=(there & (within >= 0)).astype(np.float32),
            first=first,
        )

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


def load_corpus(config: DataConfig) -> TextCorpus:
    """Returns the text of the file or of the labelled corpus that a data section names.

    Raises:
      InputError: they cannot be had, or are damaged.
    """
    if config.file:
        return plain_text.load_text_file(Path(config.file))
    corpus = load_labelled(config.corpus, config.dir, config.fallback)
    return plain_text.strip_labels(corpus, config.text)


def make_dataset(
    config: Config, corpus: TextCorpus, vocabulary: Vocabulary | None = None
) -> TextDataset[TextStream]:
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
    train, test = (corpus.splits[name][: given.take or None] for name in ("train", "test"))
    kept, validation = list(train), []
    if given.validation:
        kept, validation = plain_text.cut(train, given.validation, connected=corpus.connected)
        if not (kept and validation):
            raise InputError(
                f"config.data.validation: {given.validation} of {len(train)} training texts is "
                f"{len(validation)}; expected at least one on either side, so take more"
            )
    if vocabulary is None:
        wanted = given.vocabulary
        vocabulary = Vocabulary.fit(
            kept[: wanted.rows or None], wanted.size, wanted.unit, end_token=True
        )

    def evaluation_stream(name: str, rows: Sequence[str]) -> TextStream:
        return make_evaluation_stream(
            name,
            rows,
            vocabulary,
            config.batch_size,
            given.sequence_length,
            connected=corpus.connected,
        )

    return TextDataset(
        corpus=corpus,
        vocabulary=vocabulary,
        train=TextStream(
            encode_texts("train", kept, vocabulary, connected=corpus.connected),
            config.batch_size,
            given.sequence_length,
            shuffle=given.shuffle,
            restarts=given.restarts,
            group_size=config.steps_per_call,
        ),
        validation=evaluation_stream("validation", validation) if validation else None,
        test=evaluation_stream("test", test),
    )


def make_evaluation_stream(
    name: str,
    rows: Sequence[str],
    vocabulary: Vocabulary,
    batch_size: int,
    sequence_length: int,
    *,
    connected: bool,
) -> TextStream:
    """Returns texts as an unshuffled stream whose rows warm up on the preceding tokens.

    Args:
      name: as for `encode_texts`.
      rows: as for `encode_texts`.
      vocabulary: as for `encode_texts`.
      batch_size: as for `TextStream`.
      sequence_length: as for `TextStream`.
      connected: as for `encode_texts`.
    """
    tokens = encode_texts(name, rows, vocabulary, connected=connected)
    return TextStream(tokens, batch_size, sequence_length, shuffle=False, warm_up=_WARM_UP)


def encode_texts(
    name: str, rows: Sequence[str], vocabulary: Vocabulary, *, connected: bool
) -> Int32[np.ndarray, " tokens"]:
    """Returns the tokens of texts, an `END` before each and after the last.

    Args:
      name: what the progress is called.
      rows: the texts.
      vocabulary: with ends.
      connected: the texts are one.
    """
    pieces = []
    with Progress(f"number {name}", len(rows)) as progress:
        for start in range(0, len(rows), _AT_ONCE):
            sequences = vocabulary.encode(rows[start : start + _AT_ONCE])
            begins = [] if connected else sequences.offsets[:-1]
            pieces.append(np.insert(sequences.tokens, begins, END))
            progress.update(min(start + _AT_ONCE, len(rows)))
    first = [[END]] if connected else []
    return np.concatenate([*first, *pieces, [END]]).astype(np.int32)
