"""From a config to batches of labelled text: which rows, which words, which padded lengths."""

import dataclasses

import numpy as np

from rnnjax.config import Config
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


def load_corpus(config: Config) -> Corpus:
    """Returns the corpus of a config, prepared if need be.

    Raises:
      InputError: it cannot be had, or is damaged.
    """
    return corpora.load(config.data.corpus, config.data.dir, config.data.fallback)


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
        return make_batches(config, vocabulary, texts, labels, **options)

    trained = part(train, train_rows, shuffle=given.shuffle, group_size=config.steps_per_call)
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
    return dataclasses.replace(dataset, train=_with_boundaries(config, dataset.train))


def make_batches(
    config: Config,
    vocabulary: Vocabulary,
    texts: list[str],
    labels: np.ndarray,
    *,
    shuffle: bool = False,
    group_size: int = 1,
    boundaries: tuple[int, ...] = (),
) -> Batches:
    """Returns batches of labelled texts.

    Args:
      config: how to batch them.
      vocabulary: numbers the tokens.
      texts: at least one.
      labels: int32, one for each text.
      shuffle: a new order every epoch; otherwise that of the texts.
      group_size: most batches of a `BatchGroup`.
      boundaries: padded lengths to use where the texts fit, since a network may be compiled for
        them; without any they are chosen.
    """
    sequences = vocabulary.encode(texts, config.data.max_tokens)
    longest = _longest(sequences)
    batches = Batches(
        sequences,
        labels,
        batch_size=config.batch_size,
        boundaries=(longest,),
        bucketing=config.data.bucketing,
        shuffle=shuffle,
        mask_padding=config.model.mask,
        group_size=group_size,
    )
    if boundaries:
        shorter = [boundary for boundary in boundaries if boundary < longest]
        boundaries = (*shorter, next((each for each in boundaries if each >= longest), longest))
        return dataclasses.replace(batches, boundaries=boundaries)
    return _with_boundaries(config, batches)


def _longest(sequences: Sequences) -> int:
    return max(int(sequences.lengths.max()), 1)


def _with_boundaries(config: Config, batches: Batches) -> Batches:
    """Returns the batches with padded lengths that suit them in the place of those they have."""
    lengths, together = batches.sequences.lengths, config.batch_size
    batches = dataclasses.replace(batches, boundaries=(_longest(batches.sequences),))
    if not config.data.bucketing:
        # Another epoch puts other texts together, but the longest fits the last boundary.
        steps = range(batches.steps_per_epoch)
        rows = [batches.indices_at(config.seed, step) for step in steps]
        lengths, together = np.array([lengths[each].max() for each in rows]), 1
    price = _COMPILING * float(lengths.mean()) / config.epochs
    boundaries = choose_boundaries(lengths, config.data.buckets, together, price)
    return dataclasses.replace(batches, boundaries=boundaries)
