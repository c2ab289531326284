"""Batches of labelled text: rows, vocabulary and padded lengths, from a corpus and a config."""

import ast
import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32, Int32

from rnnjax.config import Config
from rnnjax.config.sections import DataConfig
from rnnjax.data import corpora, token_files
from rnnjax.data.batches import VALIDATION, Batches, fit_boundaries, hold_out
from rnnjax.data.corpora import Corpus, CorpusSplit
from rnnjax.data.corpora.corpus import JoinedTexts
from rnnjax.data.corpora.labelled_files import load_labelled_files
from rnnjax.data.dataset import TextDataset
from rnnjax.data.sequences import Sequences
from rnnjax.data.splitting import stratified_split
from rnnjax.data.token_files import fit_vocabulary
from rnnjax.data.vocabulary import Vocabulary
from rnnjax.errors import InputError


@dataclasses.dataclass(frozen=True)
class LabelledTextDataset(TextDataset[Batches]):
    """A data set of labelled texts."""

    corpus: Corpus

    def texts(self, config: DataConfig, split: str) -> JoinedTexts:
        """Returns the texts of a split."""
        return self.corpus.splits[split].joined_texts(config.text, slice(0, config.take or None))


def load_corpus(config: DataConfig) -> Corpus:
    """Loads the labelled files or the corpus that a data section names, prepared on first use.

    Raises:
      InputError: it cannot be had, or is damaged.
    """
    if config.file:
        return load_labelled_files(config)
    fields = "+".join(filter(None, (config.text, config.vocabulary.text)))
    names = {"text": fields, "label": config.label, "test": config.test}
    return corpora.load(config.corpus, config.dir, config.fallback, **names)


def make_dataset(
    config: Config, corpus: Corpus, vocabulary: Vocabulary | None = None
) -> LabelledTextDataset:
    """Splits a corpus, fits the vocabulary and makes the batches of each split.

    Args:
      config: the data section, the batches, and the seed that draws the validation split.
      corpus: as `load_corpus` returns it.
      vocabulary: None to fit one as `config.data.vocabulary` says.

    Raises:
      InputError: there are too few rows for the validation split, or a weight is of no class.
    """
    data, batch_size = config.data, config.batch_size
    train, test = corpus.splits["train"], corpus.splits["test"]
    count = len(range(len(train))[: data.take or None])
    if corpus.is_stratified:
        labels = train.labels[:count]
        train_rows, validation_rows = stratified_split(
            labels, data.validation, config.seed, VALIDATION
        )
    else:
        train_rows, validation_rows = hold_out(count, data.validation, config.seed)
    validation = train
    if data.validation_file:
        validation = corpus.splits["validation"]
        validation_rows = np.arange(len(validation))[: data.take or None]
    if vocabulary is None:
        options = data.vocabulary
        rows = train_rows[: options.rows or None]
        texts = train.joined_texts(options.text or data.text, rows)
        vocabulary = fit_vocabulary(texts, options.size, options.unit)

    def batches(split: CorpusSplit, rows: np.ndarray, **options) -> Batches:
        texts, labels = split.joined_texts(data.text, rows), np.asarray(split.labels[rows])
        sequences = token_files.encode("texts", texts, vocabulary, data.max_tokens)
        options |= {"batch_size": batch_size, "mask_padding": config.model.mask}
        return make_batches(data, sequences, labels, **options)

    options = {"shuffle": data.shuffle, "group_size": config.steps_per_call}
    if data.class_weights:
        factors = weigh_classes(data.class_weights, train.labels[:count], corpus.classes)
        options["example_weights"] = factors[train.labels[train_rows]]
    train_batches = fit_boundaries(
        batches(train, train_rows, **options),
        data.buckets,
        epochs=config.epochs,
        seed=config.seed,
    )
    padded = {"boundaries": train_batches.boundaries}
    return LabelledTextDataset(
        corpus=corpus,
        vocabulary=vocabulary,
        train=train_batches,
        validation=batches(validation, validation_rows, **padded) if len(validation_rows) else None,
        test=batches(test, np.arange(len(test))[: data.take or None], **padded),
    )


def weigh_classes(
    weights: str, labels: Int32[np.ndarray, " rows"], classes: Sequence[str]
) -> Float32[np.ndarray, " classes"]:
    """Returns the weight of each class: rows / (classes * rows of the class), or as listed.

    Balanced weights are those of scikit-learn, over the classes that have rows.

    Args:
      weights: 'balanced', or the text of a dict of weights by class; 1 for those that it lacks.
      labels: of the training part.
      classes: their names.

    Raises:
      InputError: a weight is of no class.
    """
    if weights == "balanced":
        counts = np.bincount(labels, minlength=len(classes))
        balanced = len(labels) / (np.count_nonzero(counts) * np.maximum(counts, 1))
        return balanced.astype(np.float32)
    by_name = ast.literal_eval(weights)
    if unknown := sorted(set(by_name) - set(classes)):
        listed = ", ".join(map(repr, classes[:20])) + (", ..." if len(classes) > 20 else "")
        raise InputError(
            f"config.data.class_weights: given a weight of {unknown[0]!r}, expected classes of the "
            f"data, {listed}: mend the name"
        )
    return np.array([by_name.get(name, 1.0) for name in classes], np.float32)


def reuse_dataset(dataset: LabelledTextDataset, config: Config) -> LabelledTextDataset:
    """Returns the data set of another seed without encoding the texts again.

    Without a validation split, the seed decides the order of the batches alone.
    """
    train = fit_boundaries(
        dataset.train, config.data.buckets, epochs=config.epochs, seed=config.seed
    )
    return dataclasses.replace(dataset, train=train)


def make_batches(
    config: DataConfig,
    sequences: Sequences,
    labels: np.ndarray,
    *,
    batch_size: int,
    mask_padding: bool = True,
    shuffle: bool = False,
    group_size: int = 1,
    boundaries: tuple[int, ...] = (),
    example_weights: Float32[np.ndarray, " examples"] | None = None,
) -> Batches:
    """Returns the batches of labelled texts.

    Args:
      config: whether texts are bucketed by length.
      sequences: the tokens of at least one text.
      labels: one int32 for each text, or of several labels bool `[texts, classes]`.
      batch_size: rows of a batch.
      mask_padding: as for `Batches`.
      shuffle: as for `Batches`.
      group_size: as for `Batches`.
      boundaries: padded lengths to use as far as the texts fit, since a network may be compiled
        for them; without any, all batches are padded to the longest text.
      example_weights: as for `Batches`.
    """
    return Batches(
        sequences,
        labels,
        batch_size=batch_size,
        boundaries=boundaries,
        bucketing=config.bucketing,
        shuffle=shuffle,
        mask_padding=mask_padding,
        group_size=group_size,
        example_weights=example_weights,
    )
