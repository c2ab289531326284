"""Tagging: network, loss, decoding and scores of a label for each token."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int

from rnnjax.cells import make_cell
from rnnjax.config import Config
from rnnjax.data.batches import Batch, Shape
from rnnjax.data.vocabulary import UNKNOWN, Vocabulary, unknown_share
from rnnjax.errors import InputError
from rnnjax.reporting.run_files import Record
from rnnjax.reporting.run_report import ReportPart
from rnnjax.tasks.tagging import corpus as tagging_corpus
from rnnjax.tasks.tagging import crf, data, metrics
from rnnjax.tasks.tagging.config import SCHEMA, TaggingConfig
from rnnjax.tasks.tagging.corpus import TaggingCorpus
from rnnjax.tasks.tagging.data import Encoder, TaggedDataset, TokenBatches
from rnnjax.tasks.tagging.model import Tagger
from rnnjax.tasks.tagging.report import make_report_part
from rnnjax.tasks.task import Carry, Params, Prediction, Sums, UsageCommand
from rnnjax.tasks.token_task import TokenTask, encoder_options

if TYPE_CHECKING:
    from rnnjax.tasks.tagging.trained_run import TrainedTagger
    from rnnjax.tasks.trained_run import TrainedRun

_EXAMPLES = 20
"""Test texts in the result."""


@dataclasses.dataclass(frozen=True)
class TaggingTask(TokenTask):
    """Labels of tokens: cross-entropy one by one, or the likelihood of a random field.

    Attributes:
      labels: their names.
      alphabet: characters that the network reads of each token; '' for tokens alone.
      characters_per_token: of a token, from its start.
    """

    schema = SCHEMA
    example_unit = "texts"
    score_unit = "texts"
    throughput_unit = "tokens"
    headline_metrics = ("span_f1", "accuracy", "loss")
    commands = (
        UsageCommand("Label the tokens of a text", "predict", '"text"'),
        UsageCommand("Evaluate it on another file", "evaluate", "--data FILE"),
    )
    class_axes = MappingProxyType(
        {
            "embed/embedding": (0, "tokens"),
            "score/kernel": (1, "classes"),
            "score/bias": (0, "classes"),
        }
    )
    metadata_keys = ("classes", "alphabet", "unit")

    model: Tagger
    labels: tuple[str, ...] = dataclasses.field(kw_only=True)
    alphabet: str = dataclasses.field(kw_only=True)
    characters_per_token: int = dataclasses.field(kw_only=True)

    @staticmethod
    def load_corpus(config: Config) -> TaggingCorpus:
        """Loads labelled tokens."""
        return tagging_corpus.load_corpus(config.data, config.section(TaggingConfig))

    @staticmethod
    def make_dataset(
        config: Config,
        corpus: TaggingCorpus,
        vocabulary: Vocabulary | None = None,
        sibling: TaggedDataset | None = None,
    ) -> TaggedDataset:
        """Returns batches of labelled tokens."""
        del sibling
        return data.make_dataset(config, corpus, vocabulary)

    @classmethod
    def from_config(
        cls, config: Config, vocab_size: int, metadata: Mapping[str, Any]
    ) -> "TaggingTask":
        """Builds the task of a config, with the labels and the alphabet of the data."""
        options, alphabet = config.section(TaggingConfig), metadata["alphabet"]
        spelling = {}
        if alphabet:
            features = options.character_features
            spelling = {
                "character_cell": make_cell(config.model.cell, features, jnp.dtype(config.dtype)),
                "characters": UNKNOWN + 1 + len(alphabet),
                "character_features": features,
            }
        model = Tagger(
            vocabulary=vocab_size,
            labels=len(metadata["classes"]),
            crf=options.output == "crf",
            **spelling,
            **encoder_options(config.model, config.dtype),
        )
        return cls(
            model,
            config.model.embedding.trainable,
            labels=tuple(metadata["classes"]),
            alphabet=alphabet,
            characters_per_token=options.characters_per_token,
        )

    def input_shapes(
        self, batch_size: int = 1, lengths: Shape = (1,)
    ) -> tuple[jax.ShapeDtypeStruct, ...]:
        """Returns shapes and dtypes of inputs and mask."""
        inputs, mask = super().input_shapes(batch_size, lengths)
        if not self.alphabet:
            return inputs, mask
        shape = (*inputs.shape, 1 + self.characters_per_token)
        return jax.ShapeDtypeStruct(shape, inputs.dtype), mask

    def batch_sums(
        self, params: Params, batch: Batch, carry: Carry, **options: Any
    ) -> tuple[Sums, Carry]:
        """Returns the sums of loss and accuracy over tokens, and the predicted labels."""
        params = self.stop_embedding_gradient(params)
        outputs: Any = self.model.apply({"params": params}, batch.inputs, batch.mask, **options)
        scores, potentials = outputs
        counted = jnp.asarray(batch.mask & (batch.weights > 0))
        if potentials is None:
            losses = optax.softmax_cross_entropy_with_integer_labels(scores, batch.targets)
            loss = jnp.sum(jnp.where(batch.mask, losses, 0) * batch.weights)
        else:
            targets = jnp.asarray(batch.targets)
            losses = crf.negative_log_likelihood(scores, targets, counted, potentials)
            # The tokens of a text are scored together: their mean weight is that of the text.
            counts = jnp.maximum(jnp.sum(counted, axis=1, dtype=jnp.float32), 1)
            loss = jnp.sum(losses * jnp.sum(batch.weights, axis=1, where=counted) / counts)
        labels = decode_labels(scores, counted, potentials)
        sums = {
            "loss": loss,
            "accuracy": jnp.sum(jnp.where(labels == batch.targets, batch.weights, 0)),
            "weight": jnp.sum(batch.weights),
            "labels": labels,
        }
        return sums, carry

    def outcome_names(self, metadata: Mapping[str, Any], vocabulary: Vocabulary) -> tuple[str, ...]:
        """Returns the labels."""
        del vocabulary
        return tuple(metadata["classes"])

    def advance(
        self,
        params: Params,
        tokens: Int[Array, "batch time"],
        mask: Bool[Array, "batch time"],
        carry: Any = None,
    ) -> tuple[Any, Float[Array, "batch labels"]]:
        """Reads the next tokens; returns the carry and log-probabilities of the last one's labels.

        Those of a random field leave the labels beside it out.

        Raises:
          InputError: the network reads characters as well.
        """
        if self.alphabet:
            raise InputError(
                "config.tagging.character_features: given a network that reads the characters of "
                "each token, and this command gives it token ids alone; expected 0, or another "
                "command (predict, evaluate)"
            )
        outputs: Any = self.model.apply({"params": params}, tokens, mask, carry, method="advance")
        carry, scores = outputs
        return carry, jax.nn.log_softmax(scores)

    def predicted_labels(self, split: TokenBatches, outputs: Sequence[Any]) -> list[list[str]]:
        """Returns the predicted labels of each text of a split."""
        rows = split.restore_order([batch["labels"] for batch in outputs])
        return [[self.labels[label] for label in row] for row in rows]

    def reference_labels(self, split: TokenBatches) -> list[list[str]]:
        """Returns the labels of each text of a split as its file has them."""
        names = np.array(self.labels)[split.targets.values]
        return [row.tolist() for row in np.split(names, split.targets.offsets[1:-1])]

    def compute_metrics(
        self, split: TokenBatches, outputs: Sequence[Any]
    ) -> dict[str, float | int]:
        """Returns loss (nats a token), accuracy of tokens, F1 of labels and of spans, and rows."""
        scores = super().compute_metrics(split, outputs)
        references, predictions = (
            self.reference_labels(split),
            self.predicted_labels(split, outputs),
        )
        return {
            **scores,
            **metrics.summarize(references, predictions),
            "tokens": len(split.tokens),
            "unknown_share": unknown_share(split.tokens),
        }

    def analyze_test(
        self, config: Config, dataset: TaggedDataset, params: Params, outputs: Sequence[Any]
    ) -> dict[str, Any]:
        """Returns the scores of each label and type of span, and the first texts."""
        del params
        test = dataset.test
        references, predictions = self.reference_labels(test), self.predicted_labels(test, outputs)
        texts = dataset.corpus.splits["test"][: config.data.take or None]
        return {
            "labels": metrics.score_labels(references, predictions),
            "spans": metrics.score_span_types(references, predictions),
            "separator": data.token_separator(dataset.corpus.metadata),
            "texts": [
                {"tokens": list(text.tokens), "labels": labels, "predicted": predicted}
                for text, labels, predicted, _ in zip(
                    texts, references, predictions, range(_EXAMPLES), strict=False
                )
            ],
        }

    @classmethod
    def report(cls, run: Record) -> ReportPart:
        """Returns the scores of labels and spans, and texts with their mistakes."""
        return make_report_part(run)

    def read_split(self, run: "TrainedRun", path: Path) -> TokenBatches:
        """Returns the labelled texts of a file.

        Raises:
          InputError: it cannot be read, or has a label that the network does not know.
        """
        texts = tagging_corpus.read_file(path, run.config.section(TaggingConfig))
        tagging_corpus.check_labels(texts, self.labels, path)
        encoder = Encoder.from_metadata(run.config, run.text_vocabulary, run.data)
        return data.make_batches(run.config, encoder, texts, boundaries=run.boundaries)

    def predictions(self, split: TokenBatches, outputs: Sequence[Any]) -> Iterator[Prediction]:
        """Yields the labels of each text."""
        for labels in self.predicted_labels(split, outputs):
            yield Prediction(" ".join(labels), {"labels": labels})

    @classmethod
    def trained_run(cls) -> "type[TrainedTagger]":
        """Returns the class of trained taggers."""
        from rnnjax.tasks.tagging.trained_run import TrainedTagger

        return TrainedTagger


def decode_labels(
    scores: Float[Array, "batch time labels"],
    mask: Bool[Array, "batch time"],
    potentials: crf.Potentials | None,
) -> Int[Array, "batch time"]:
    """Returns the labels of tokens: the best one of each, or the best labelling of a text."""
    if potentials is None:
        return jnp.argmax(scores, axis=-1)
    return crf.decode(scores, mask, potentials)[0]


TASK = TaggingTask
