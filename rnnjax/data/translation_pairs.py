"""Batches of pairs of texts, one to read and one to write, as a pure function of seed and step."""

import dataclasses
import functools
import itertools
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int, Int32

from rnnjax.config import Config
from rnnjax.config.schema import DataConfig, TranslationConfig
from rnnjax.data.batches import Epochs, Rows, Sequences, Shape, choose_boundaries
from rnnjax.data.corpora.numerals import ROWS, numerals
from rnnjax.data.corpora.parallel_text import ParallelCorpus, SentencePairs, read_parallel_text
from rnnjax.data.dataset import TextDataset
from rnnjax.data.vocabulary import END, Vocabulary

_COMPILING = 300
"""What one more shape is worth in training steps: compiling for it takes tens of them where a
network is large, and about a thousand where it is small."""


class TranslationBatch(NamedTuple):
    """What goes to the device at once. Rows whose weights are all zero only fill it.

    Attributes:
      source: the tokens that are read.
      source_mask: True where they count.
      inputs: for each place of the target the token before it, `END` at the first.
      targets: the tokens that are to be written, `END` at the last place.
      weights: 1 for each of them, `END` included; 0 on padding.
    """

    source: Int32[np.ndarray, "batch source"]
    source_mask: Bool[np.ndarray, "batch source"]
    inputs: Int32[np.ndarray, "batch time"]
    targets: Int32[np.ndarray, "batch time"]
    weights: Float32[np.ndarray, "batch time"]


@dataclasses.dataclass(frozen=True, eq=False)
class TranslationBatches(Epochs):
    """Batches of pairs; those of a batch are padded to the same lengths.

    Attributes:
      sources: what is read.
      targets: what is to be written, without ends.
      batch_size: as for `Epochs`.
      shapes: padded lengths of source and target, the end included. A pair goes into the smallest
        that holds it, and each is held by one.
      shuffle: as for `Epochs`.
      group_size: as for `Epochs`.
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
        """The tokens of all pairs, on both sides."""
        return np.concatenate([self.sources.tokens, self.targets.tokens])

    @functools.cached_property
    def _bucket(self) -> Int[np.ndarray, " pairs"]:
        """The number of the shape of each pair."""
        source, target = np.array(self.shapes).T
        lengths = self.sources.lengths[:, None], self.targets.lengths[:, None] + 1
        fits = (lengths[0] <= source) & (lengths[1] <= target)
        return np.argmin(np.where(fits, source + target, np.inf), axis=1)

    @functools.cached_property
    def _buckets(self) -> list[Rows]:
        rows = [np.flatnonzero(self._bucket == index) for index in range(len(self.shapes))]
        return [each for each in rows if len(each)]

    def _padded(self, rows: Rows) -> Shape:
        return self.shapes[self._bucket[rows[0]]]

    def _filled(self, batches: list[Rows], size: int, shape: Shape) -> TranslationBatch:
        rows = self._numbers(batches, size)
        source, target = shape
        read, read_mask = self.sources.pad(rows, source)
        written, mask = self.targets.pad(rows, target)
        there = np.broadcast_to((rows >= 0)[..., None], (*rows.shape, 1))
        # Moved by one place, the mask has room for the end.
        weights = np.concatenate([there, mask[..., :-1]], axis=-1)
        inputs = np.concatenate([np.where(there, END, 0), written[..., :-1]], axis=-1)
        return TranslationBatch(
            source=read,
            source_mask=read_mask,
            inputs=inputs.astype(np.int32),
            targets=np.where(weights & ~mask, END, written).astype(np.int32),
            weights=weights.astype(np.float32),
        )


def choose_shapes(
    sources: Sequences, targets: Sequences, most: int, group: int = 1, price: float = 0.0
) -> tuple[Shape, ...]:
    """Returns padded lengths of source and target, the end included, that cost little.

    The pairs are parted by the length of the source, and those of each part by the length of the
    target, as `choose_boundaries` does both. Of the ways to share out `most` shapes so, with as
    many for each part, the one whose batches have the fewest places is taken.

    Args:
      sources: what is read, at least one.
      targets: what is to be written, without ends.
      most: most shapes.
      group: pairs of one batch.
      price: of one more shape, in places of a row of a batch.
    """
    lengths = sources.lengths, targets.lengths + 1
    choices = []
    for parts in range(1, most + 1):
        below, shapes, cost = -1, [], 0.0
        for source in choose_boundaries(lengths[0], parts, group):
            inside = lengths[1][(lengths[0] > below) & (lengths[0] <= source)]
            below = source
            ends = choose_boundaries(inside, most // parts, group, price)
            shapes += [(source, target) for target in ends]
            counts = np.bincount(np.searchsorted(ends, inside), minlength=len(ends))
            cost += sum(np.ceil(counts / group) * (source + np.array(ends))) + price * len(ends)
        choices.append((cost, tuple(shapes)))
    return min(choices)[1]


def extend_shapes(
    shapes: tuple[Shape, ...], sources: Sequences, targets: Sequences
) -> tuple[Shape, ...]:
    """Returns the shapes, and one more if there are pairs that fit into none of them."""
    lengths = sources.lengths, targets.lengths + 1
    fits = np.zeros(len(sources), bool)
    for source, target in shapes:
        fits |= (lengths[0] <= source) & (lengths[1] <= target)
    if fits.all():
        return shapes
    return (*shapes, (int(lengths[0].max()), int(lengths[1].max())))


@dataclasses.dataclass(frozen=True)
class TranslationDataset(TextDataset[TranslationBatches]):
    """What a run reads that writes a text for each."""

    corpus: ParallelCorpus

    def describe(self) -> dict[str, Any]:
        """Returns what a run's files say of it: also the tokens of the longest training target."""
        return {**super().describe(), "longest": int(self.train.targets.lengths.max())}


def load_corpus(data: DataConfig, translation: TranslationConfig) -> ParallelCorpus:
    """Returns the sentence pairs of a folder or, where none is named, of numbers and dates.

    Raises:
      InputError: they cannot be had, or are damaged.
    """
    if data.dir:
        return read_parallel_text(Path(data.dir), translation.source, translation.target)
    limit = data.take or max(ROWS.values())
    return numerals(rows={split: min(count, limit) for split, count in ROWS.items()})


def make_dataset(
    config: Config, corpus: ParallelCorpus, vocabulary: Vocabulary | None = None
) -> TranslationDataset:
    """Returns the batches of a config; both languages have one vocabulary.

    Args:
      config: what to take and how to batch it.
      corpus: as `load_corpus` returns it.
      vocabulary: None to fit it as the config says.

    Raises:
      InputError: the vocabulary that the config asks for cannot be had of these texts.
    """
    given = config.data
    taken = slice(0, given.take or None)
    parts = {
        name: SentencePairs(part.sources[taken], part.targets[taken])
        for name, part in corpus.splits.items()
    }
    if vocabulary is None:
        wanted, fitted = given.vocabulary, parts["train"]
        counted = slice(0, wanted.rows or None)
        texts = itertools.chain(fitted.sources[counted], fitted.targets[counted])
        vocabulary = Vocabulary.fit(texts, wanted.size, wanted.unit, end_token=True)
    numbers = {
        name: (vocabulary.encode(part.sources), vocabulary.encode(part.targets))
        for name, part in parts.items()
    }
    price = _COMPILING * sum(float(side.lengths.mean()) for side in numbers["train"])
    shapes = choose_shapes(
        *numbers["train"], given.buckets, config.batch_size, price / config.epochs
    )

    def part(name: str, **options: Any) -> TranslationBatches:
        fitting = extend_shapes(shapes, *numbers[name])
        return TranslationBatches(*numbers[name], config.batch_size, fitting, **options)

    return TranslationDataset(
        corpus=corpus,
        vocabulary=vocabulary,
        train=part("train", shuffle=given.shuffle, group_size=config.steps_per_call),
        validation=part("validation", shuffle=False),
        test=part("test", shuffle=False),
    )
