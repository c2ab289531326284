"""Batches of contiguous text for truncated backpropagation, a pure function of seed and step."""

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
"""Tokens that a row of an evaluation reads before those that are scored, because a text that begins
in its middle is not the text to be predicted."""
_TEXTS_PER_CALL = 10_000
"""Texts that are encoded between two updates of the progress."""


class LMBatch(NamedTuple):
    """Consecutive tokens of as many places in a text as there are rows, and their next tokens.

    Each row continues the same row of the previous batch.
    """

    tokens: Int32[np.ndarray, "batch time"]
    targets: Int32[np.ndarray, "batch time"]
    """The token after each."""
    mask: Bool[np.ndarray, "batch time"]
    """False on padding."""
    weights: Float32[np.ndarray, "batch time"]
    """Weights of the loss: 1 at the tokens that are scored, 0 elsewhere."""
    first: Bool[np.ndarray, " batch"]
    """Whether a row restarts here from the initial state."""


@dataclasses.dataclass(frozen=True, eq=False)
class TextStream(FixedShape):
    """A text cut into equal segments, one for each row of a batch, read side by side.

    Each epoch of a shuffled stream begins at another position, from which it is read in a circle,
    so that every token is predicted once an epoch and the next epoch is cut elsewhere. A row
    restarts at the beginning of an epoch, and at random within it; there it reads `END`.

    Attributes:
      tokens: int32, at least two.
      batch_size: rows of a batch.
      sequence_length: time steps of a batch; fewer if the segments are shorter.
      shuffle: a new starting position every epoch; otherwise the beginning.
      restarts: probability that a row of a batch restarts.
      warm_up: tokens before its segment that a row reads, where there are so many.
      group_size: most batches of a `BatchGroup`.
    """

    tokens: Int32[np.ndarray, " tokens"]
    batch_size: int
    sequence_length: int
    shuffle: bool = True
    restarts: float = 0.0
    warm_up: int = 0
    group_size: int = 1

    def __len__(self) -> int:
        return len(self.tokens) - 1

    @property
    def _segment(self) -> int:
        return -(-len(self) // self.batch_size)

    @property
    def boundaries(self) -> tuple[int, ...]:
        """The number of time steps of a batch."""
        return (min(self.sequence_length, self._segment + self.warm_up),)

    @property
    def steps_per_epoch(self) -> int:
        """Number of batches, the same in every epoch."""
        return -(-(self._segment + self.warm_up) // self.boundaries[0])

    def batch_at(self, seed: int, step: int) -> LMBatch:
        """Returns the batch of a step, counted over all epochs."""
        epoch, index = divmod(step, self.steps_per_epoch)
        (time,) = self.boundaries
        offsets = index * time + np.arange(time) - self.warm_up
        positions = self._segment * np.arange(self.batch_size)[:, None] + offsets
        mask = (offsets < self._segment) & (positions >= 0) & (positions < len(self))
        source = np.where(mask, (positions + self._start(seed, epoch)) % len(self), 0)
        tokens = np.where(mask, self.tokens[source], 0)
        first = self._first(seed, epoch, index)
        tokens[first, 0] = END
        return LMBatch(
            tokens=tokens.astype(np.int32),
            targets=np.where(mask, self.tokens[source + 1], 0).astype(np.int32),
            mask=mask,
            weights=(mask & (offsets >= 0)).astype(np.float32),
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
    """Loads the text of the file or of the labelled corpus that a data section names.

    Raises:
      InputError: it cannot be had, or is damaged.
    """
    if config.file:
        return plain_text.load_text_file(Path(config.file))
    corpus = load_labelled(config.corpus, config.dir, config.fallback)
    return plain_text.strip_labels(corpus, config.text)


def make_dataset(
    config: Config, corpus: TextCorpus, vocabulary: Vocabulary | None = None
) -> TextDataset[TextStream]:
    """Splits a text, fits the vocabulary and makes the stream of each split.

    The validation split is the end of the training texts, whatever the seed. Documents are
    separated by `END`, which also stands at both ends of connected text.

    Args:
      config: the data section, and the batches.
      corpus: as `load_corpus` returns it.
      vocabulary: None to fit one as `config.data.vocabulary` says.

    Raises:
      InputError: there is too little text for the validation split.
    """
    data, connected = config.data, corpus.connected
    train, test = (corpus.splits[name][: data.take or None] for name in ("train", "test"))
    train_texts, validation = list(train), []
    if data.validation:
        train_texts, validation = plain_text.split_off(train, data.validation, connected=connected)
        if not (train_texts and validation):
            raise InputError(
                f"config.data.validation: {data.validation} of {len(train)} training texts is "
                f"{len(validation)}; expected at least one on either side, so take more"
            )
    if vocabulary is None:
        options = data.vocabulary
        vocabulary = Vocabulary.fit(
            train_texts[: options.rows or None], options.size, options.unit, end_token=True
        )

    def evaluation_stream(name: str, texts: Sequence[str]) -> TextStream:
        shape = config.batch_size, data.sequence_length
        return make_evaluation_stream(name, texts, vocabulary, *shape, connected=connected)

    return TextDataset(
        corpus=corpus,
        vocabulary=vocabulary,
        train=TextStream(
            encode_texts("train", train_texts, vocabulary, connected=connected),
            config.batch_size,
            data.sequence_length,
            shuffle=data.shuffle,
            restarts=data.restarts,
            group_size=config.steps_per_call,
        ),
        validation=evaluation_stream("validation", validation) if validation else None,
        test=evaluation_stream("test", test),
    )


def make_evaluation_stream(
    name: str,
    texts: Sequence[str],
    vocabulary: Vocabulary,
    batch_size: int,
    sequence_length: int,
    *,
    connected: bool,
) -> TextStream:
    """Returns texts as an unshuffled stream whose rows warm up on the preceding tokens.

    Args:
      name: as for `encode_texts`.
      texts: as for `encode_texts`.
      vocabulary: as for `encode_texts`.
      batch_size: as for `TextStream`.
      sequence_length: as for `TextStream`.
      connected: as for `encode_texts`.
    """
    tokens = encode_texts(name, texts, vocabulary, connected=connected)
    return TextStream(tokens, batch_size, sequence_length, shuffle=False, warm_up=_WARM_UP)


def encode_texts(
    name: str, texts: Sequence[str], vocabulary: Vocabulary, *, connected: bool
) -> Int32[np.ndarray, " tokens"]:
    """Encodes texts as one array of tokens, with `END` before each text and after the last.

    Args:
      name: of the split, for the progress.
      texts: documents, or the pieces of one text.
      vocabulary: with an end token.
      connected: the texts are one.
    """
    arrays = []
    with Progress(f"encode {name}", len(texts)) as progress:
        for start in range(0, len(texts), _TEXTS_PER_CALL):
            sequences = vocabulary.encode(texts[start : start + _TEXTS_PER_CALL])
            begins = [] if connected else sequences.offsets[:-1]
            arrays.append(np.insert(sequences.tokens, begins, END))
            progress.update(min(start + _TEXTS_PER_CALL, len(texts)))
    first = [[END]] if connected else []
    return np.concatenate([*first, *arrays, [END]]).astype(np.int32)
