"""From a config to batches of labelled text: which rows, which words, which padded lengths."""

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
"""The stream of random numbers that draws the validation part. To a `SeedSequence` (seed, number)
is what (seed, number, 0) is, which orders the batches of the epoch of that number."""

_COMPILING = 300
"""Compiling for one more padded length takes about as long as this many training steps: from 100
for a two-layer bidirectional LSTM(64) to 1,000 for a simple RNN(16), on two cores."""


def load_corpus(config: DataConfig) -> Corpus:
    """Returns the labelled corpus that a data section names, prepared on first use.

    Raises:
      InputError: it cannot be had, or is damaged.
    """
    return corpora.load(config.corpus, config.dir, config.fallback)


def make_dataset(
    config: Config, corpus: Corpus, vocabulary: Vocabulary | None = None
) -> TextDataset[Batches]:
    """Returns the batches of a config.

    Args:
      config: what to take and how to batch it.
      corpus: as `load_corpus` returns it.
      vocabulary: None to fit it as the config says.

    Raises:
      InputError: there are too few rows for what the config asks.
    """
    given = config.data
    train, test = corpus.splits["train"], corpus.splits["test"]
    order = np.arange(len(train))[: given.take or None]
    held_out = round(given.validation * len(order))
    if given.validation and not 0 < held_out < len(order):
        raise InputError(
            f"config.data.validation: {given.validation} of {len(order)} training rows is "
            f"{held_out}; expected at least one row on either side, so take more rows"
        )
    drawn = permutation(len(order), config.seed, VALIDATION)
    validation_rows, train_rows = np.sort(drawn[:held_out]), np.sort(drawn[held_out:])
    if vocabulary is None:
        wanted = given.vocabulary
        rows = train_rows[: wanted.rows or None]
        texts = train.texts(wanted.text or given.text, rows)
        vocabulary = Vocabulary.fit(texts, wanted.size, wanted.unit)

    def part(split: CorpusSplit, rows: np.ndarray, **options) -> Batches:
        texts = split.texts(given.text, rows)
        labels = np.asarray(split.labels[rows], np.int32)
        return make_batches(
            given,
            vocabulary,
            texts,
            labels,
            batch_size=config.batch_size,
            mask_padding=config.model.mask,
            **options,
        )

    trained = part(train, train_rows, shuffle=given.shuffle, group_size=config.steps_per_call)
    trained = fit_boundaries(trained, given.buckets, epochs=config.epochs, seed=config.seed)
    padded = {"boundaries": trained.boundaries}
    return TextDataset(
        corpus=corpus,
        vocabulary=vocabulary,
        train=trained,
        validation=part(train, validation_rows, **padded) if held_out else None,
        test=part(test, np.arange(len(test))[: given.take or None], **padded),
    )


def reuse_dataset(dataset: TextDataset[Batches], config: Config) -> TextDataset[Batches]:
    """Returns the dataset of a config that differs in its seed alone, and holds no rows out.

    No text is numbered again: the seed then decides nothing but the order.
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
        rows = [batches.indices_at(seed, step) for step in range(batches.steps_per_epoch)]
        lengths, batch_size = np.array([lengths[row].max() for row in rows]), 1
    price = _COMPILING * float(lengths.mean()) / epochs
    boundaries = choose_boundaries(lengths, max_boundaries, batch_size, price)
    return dataclasses.replace(batches, boundaries=boundaries)


def _longest(sequences: Sequences) -> int:
    return max(int(sequences.lengths.max()), 1)
