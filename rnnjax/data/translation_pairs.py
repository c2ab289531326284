"""Bucketed batches of sentence pairs for translation, a pure function of seed and step."""

import dataclasses
import functools
import itertools
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int, Int32

from rnnjax.config import Config
from rnnjax.config.schema import DataConfig, TranslationConfig
from rnnjax.data.batches import (
    BucketedBatches,
    Indices,
    Sequences,
    Shape,
    choose_boundaries,
    split_buckets,
)
from rnnjax.data.corpora.numerals import ROWS, make_numerals
from rnnjax.data.corpora.parallel_text import ParallelCorpus, SentencePairs, read_parallel_text
from rnnjax.data.dataset import TextDataset
from rnnjax.data.vocabulary import END, Vocabulary

_COMPILE_COST = 300
"""Training steps that one more shape may cost: compiling for it takes tens of them where a network
is large, and about a thousand where it is small."""


class TranslationBatch(NamedTuple):
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
class TranslationBatches(BucketedBatches):
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
        return np.concatenate([self.sources.tokens, self.targets.tokens])

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

    def _collate(self, batches: list[Indices], size: int, shape: Shape) -> TranslationBatch:
        indices = self._index_array(batches, size)
        source, source_mask = self.sources.pad(indices, shape[0])
        target, mask = self.targets.pad(indices, shape[1])
        valid = np.broadcast_to((indices >= 0)[..., None], (*indices.shape, 1))
        # The mask shifted right has one more step, for the end.
        weights = np.concatenate([valid, mask[..., :-1]], axis=-1)
        inputs = np.concatenate([np.where(valid, END, 0), target[..., :-1]], axis=-1)
        return TranslationBatch(
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


@dataclasses.dataclass(frozen=True)
class TranslationDataset(TextDataset[TranslationBatches]):
    """A data set of sentence pairs."""

    corpus: ParallelCorpus

    def describe(self) -> dict[str, Any]:
        """Describes the data for the files of a run, with the length of the longest target."""
        return {**super().describe(), "longest": int(self.train.targets.lengths.max())}


def load_corpus(data: DataConfig, translation: TranslationConfig) -> ParallelCorpus:
    """Loads the sentence pairs of a folder or, where none is named, of numbers and dates.

    Raises:
      InputError: they cannot be had, or are damaged.
    """
    if data.dir:
        return read_parallel_text(Path(data.dir), translation.source, translation.target)
    limit = data.take or max(ROWS.values())
    return make_numerals(rows={split: min(count, limit) for split, count in ROWS.items()})


def make_dataset(
    config: Config, corpus: ParallelCorpus, vocabulary: Vocabulary | None = None
) -> TranslationDataset:
    """Fits one vocabulary of both languages and makes the batches of each split.

    Args:
      config: the data section, and the batches.
      corpus: as `load_corpus` returns it.
      vocabulary: None to fit one as `config.data.vocabulary` says.

    Raises:
      InputError: no vocabulary of that size can be fitted on these texts.
    """
    data = config.data
    rows = slice(0, data.take or None)
    splits = {
        name: SentencePairs(pairs.sources[rows], pairs.targets[rows])
        for name, pairs in corpus.splits.items()
    }
    if vocabulary is None:
        options, train = data.vocabulary, splits["train"]
        rows = slice(0, options.rows or None)
        texts = itertools.chain(train.sources[rows], train.targets[rows])
        vocabulary = Vocabulary.fit(texts, options.size, options.unit, end_token=True)
    sequences = {
        name: (vocabulary.encode(pairs.sources), vocabulary.encode(pairs.targets))
        for name, pairs in splits.items()
    }
    cost = _COMPILE_COST * sum(float(side.lengths.mean()) for side in sequences["train"])
    shapes = choose_shapes(
        *sequences["train"], data.buckets, config.batch_size, cost / config.epochs
    )

    def batches(name: str, **options: Any) -> TranslationBatches:
        extended = extend_shapes(shapes, *sequences[name])
        return TranslationBatches(*sequences[name], config.batch_size, extended, **options)

    return TranslationDataset(
        corpus=corpus,
        vocabulary=vocabulary,
        train=batches("train", shuffle=data.shuffle, group_size=config.steps_per_call),
        validation=batches("validation", shuffle=False),
        test=batches("test", shuffle=False),
    )
