"""Batches of labelled text: rows, vocabulary and padded lengths, from a corpus and a config."""

import dataclasses

import numpy as np

from rnnjax.config import Config
from rnnjax.config.schema import DataConfig
from rnnjax.data import corpora
from rnnjax.data.batches import Batches, Sequences, choose_boundaries, permutation
from rnnjax.data.corpora import Corpus, CorpusSplit
from rnnjax.data.dataset import TextDataset
from rnnjax.data.vocabulary import Vocabulary
from rnnjax.errors import InputError

VALIDATION = 2**32 - 1
"""The random stream that draws the validation split. To a `SeedSequence` (seed, number) is the same
as (seed, number, 0), which orders the batches of the epoch of that number."""

_COMPILE_COST = 300
"""Training steps that take about as long as compiling for one more padded length: from 100 for a
two-layer bidirectional LSTM(64) to 1,000 for a simple RNN(16), on two cores."""


def load_corpus(config: DataConfig) -> Corpus:
    """Loads the labelled corpus that a data section names, prepared on first use.

    Raises:
      InputError: it cannot be had, or is damaged.
    """
    return corpora.load(config.corpus, config.dir, config.fallback)


def make_dataset(
    config: Config, corpus: Corpus, vocabulary: Vocabulary | None = None
) -> TextDataset[Batches]:
    """Splits a corpus, fits the vocabulary and makes the batches of each split.

    Args:
      config: the data section, the batches, and the seed that draws the validation split.
      corpus: as `load_corpus` returns it.
      vocabulary: None to fit one as `config.data.vocabulary` says.

    Raises:
      InputError: there are too few rows for the validation split.
    """
    data, batch_size = config.data, config.batch_size
    train, test = corpus.splits["train"], corpus.splits["test"]
    count = len(range(len(train))[: data.take or None])
    held_out = round(data.validation * count)
    if data.validation and not 0 < held_out < count:
        raise InputError(
            f"config.data.validation: {data.validation} of {count} training rows is "
            f"{held_out}; expected at least one row on either side, so take more rows"
        )
    order = permutation(count, config.seed, VALIDATION)
    validation_rows, train_rows = np.sort(order[:held_out]), np.sort(order[held_out:])
    if vocabulary is None:
        options = data.vocabulary
        texts = train.texts(options.text or data.text, train_rows[: options.rows or None])
        vocabulary = Vocabulary.fit(texts, options.size, options.unit)

    def batches(split: CorpusSplit, rows: np.ndarray, **options) -> Batches:
        texts, labels = split.texts(data.text, rows), np.asarray(split.labels[rows], np.int32)
        options |= {"batch_size": batch_size, "mask_padding": config.model.mask}
        return make_batches(data, vocabulary, texts, labels, **options)

    train_batches = fit_boundaries(
        batches(train, train_rows, shuffle=data.shuffle, group_size=config.steps_per_call),
        data.buckets,
        epochs=config.epochs,
        seed=config.seed,
    )
    padded = {"boundaries": train_batches.boundaries}
    return TextDataset(
        corpus=corpus,
        vocabulary=vocabulary,
        train=train_batches,
        validation=batches(train, validation_rows, **padded) if held_out else None,
        test=batches(test, np.arange(len(test))[: data.take or None], **padded),
    )


def reuse_dataset(dataset: TextDataset[Batches], config: Config) -> TextDataset[Batches]:
    """Returns the data set of another seed without encoding the texts again.

    Without a validation split, the seed decides the order of the batches alone.
    """
    train = fit_boundaries(
        dataset.train, config.data.buckets, epochs=config.epochs, seed=config.seed
    )
    return dataclasses.replace(dataset, train=train)


def make_batches(
    config: DataConfig,
    vocabulary: Vocabulary,
    texts: list[str],
    labels: np.ndarray,
    *,
    batch_size: int,
    mask_padding: bool = True,
    shuffle: bool = False,
    group_size: int = 1,
    boundaries: tuple[int, ...] = (),
) -> Batches:
    """Encodes labelled texts and returns them as batches.

    Args:
      config: the limit of tokens, and whether texts are bucketed by length.
      vocabulary: maps tokens to ids.
      texts: at least one.
      labels: int32, one for each text.
      batch_size: rows of a batch.
      mask_padding: as for `Batches`.
      shuffle: as for `Batches`.
      group_size: as for `Batches`.
      boundaries: padded lengths to use as far as the texts fit, since a network may be compiled
        for them; without any, all batches are padded to the longest text.
    """
    sequences = vocabulary.encode(texts, config.max_tokens)
    longest = _longest(sequences)
    shorter = [boundary for boundary in boundaries if boundary < longest]
    last = next((boundary for boundary in boundaries if boundary >= longest), longest)
    return Batches(
        sequences,
        labels,
        batch_size=batch_size,
        boundaries=(*shorter, last),
        bucketing=config.bucketing,
        shuffle=shuffle,
        mask_padding=mask_padding,
        group_size=group_size,
    )


def fit_boundaries(
    batches: Batches, max_boundaries: int, *, epochs: int = 1, seed: int = 0
) -> Batches:
    """Replaces the padded lengths of batches by those that take the least time.

    Args:
      batches: of sequences whose lengths decide.
      max_boundaries: most padded lengths.
      epochs: passes over the batches, among which the cost of compiling is shared out.
      seed: of the first epoch, whose batches decide where they are not bucketed.
    """
    lengths, batch_size = batches.sequences.lengths, batches.batch_size
    batches = dataclasses.replace(batches, boundaries=(_longest(batches.sequences),))
    if not batches.bucketing:
        # Another epoch puts other texts together, but the longest fits the last boundary.
        steps = range(batches.steps_per_epoch)
        lengths = np.array([lengths[batches.indices_at(seed, step)].max() for step in steps])
        batch_size = 1
    cost = _COMPILE_COST * float(lengths.mean()) / epochs
    boundaries = choose_boundaries(lengths, max_boundaries, batch_size, cost)
    return dataclasses.replace(batches, boundaries=boundaries)


def _longest(sequences: Sequences) -> int:
    return max(int(sequences.lengths.max()), 1)
