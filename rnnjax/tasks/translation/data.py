"""Bucketed batches of sentence pairs for translation, a pure function of seed and step."""

import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rnnjax.config import Config
from rnnjax.config.sections import DataConfig
from rnnjax.data.corpora.numerals import ROWS, make_numerals
from rnnjax.data.corpora.parallel_text import ParallelCorpus, SentencePairs, read_parallel_text
from rnnjax.data.dataset import TextDataset
from rnnjax.data.pairs import PairBatches, choose_shapes, extend_shapes
from rnnjax.data.vocabulary import Vocabulary
from rnnjax.tasks.translation.config import TranslationConfig
from rnnjax.tasks.translation.pair_files import load_pair_files

_COMPILE_COST = 300
"""Training steps that one more shape may cost: compiling for it takes tens of them where a network
is large, and about a thousand where it is small."""


@dataclasses.dataclass(frozen=True)
class TranslationDataset(TextDataset[PairBatches]):
    """A data set of sentence pairs."""

    corpus: ParallelCorpus

    def texts(self, config: DataConfig, split: str) -> Sequence[str]:
        """Returns the sources of a split."""
        return self.corpus.splits[split].sources[: config.take or None]

    def describe(self) -> dict[str, Any]:
        """Describes the data for the files of a run, with the length of the longest target."""
        return {**super().describe(), "longest": int(self.train.targets.lengths.max())}


def load_corpus(data: DataConfig, translation: TranslationConfig) -> ParallelCorpus:
    """Loads the sentence pairs of a folder or of files, or makes numbers and dates.

    Raises:
      InputError: they cannot be had, or are damaged.
    """
    if data.file:
        return load_pair_files(data, translation.source, translation.target)
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

    def batches(name: str, **options: Any) -> PairBatches:
        extended = extend_shapes(shapes, *sequences[name])
        return PairBatches(*sequences[name], config.batch_size, extended, **options)

    return TranslationDataset(
        corpus=corpus,
        vocabulary=vocabulary,
        train=batches("train", shuffle=data.shuffle, group_size=config.steps_per_call),
        validation=batches("validation", shuffle=False),
        test=batches("test", shuffle=False),
    )
