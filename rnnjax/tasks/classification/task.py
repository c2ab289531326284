"""Text classification: network, loss, metrics and error analysis."""

import dataclasses
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int

from rnnjax.config import Config
from rnnjax.data.batches import Batch, Batches
from rnnjax.data.corpora import Corpus
from rnnjax.data.vocabulary import Vocabulary, unknown_share
from rnnjax.models.token_encoder import PERTURBATION
from rnnjax.reporting.run_files import Record
from rnnjax.reporting.run_report import ReportPart
from rnnjax.tasks.class_scores import MATRIX_CLASSES, confusion_matrix, score_classes
from rnnjax.tasks.classification import data, metrics, multi_label
from rnnjax.tasks.classification.config import SCHEMA
from rnnjax.tasks.classification.data import LabelledTextDataset
from rnnjax.tasks.classification.model import Classifier
from rnnjax.tasks.classification.report import make_report_part
from rnnjax.tasks.task import Carry, Params, Sums, UsageCommand
from rnnjax.tasks.token_task import TokenTask, encoder_options

if TYPE_CHECKING:
    from rnnjax.tasks.classification.trained_run import TrainedClassifier


@dataclasses.dataclass(frozen=True)
class ClassificationTask(TokenTask):
    """Cross-entropy over classes, or binary cross-entropy of labels; adversarial training if on.

    Of several labels a text, the loss is the mean of the binary cross-entropies of its labels, and
    the accuracy the share of texts of which all labels are right.

    Adversarial training: Miyato, Dai, Goodfellow, "Adversarial training methods for
    semi-supervised text classification", ICLR 2017, equations 5 and 6. There the embeddings are
    normalized, lest they grow until a perturbation of constant norm means nothing; here the
    perturbation is scaled by the norm of the text's own embeddings.

    Attributes:
      adversarial: norm of the perturbation of a text's embeddings, as a share of their Euclidean
        norm; 0 for off.
      is_multi_label: whether each class has a sigmoid output of its own.
    """

    schema = SCHEMA
    example_unit = "texts"
    score_unit = "rows"
    headline_metrics = ("accuracy", "loss")
    commands = (
        UsageCommand("Classify a text", "predict", '"text"'),
        UsageCommand("Evaluate it on another file", "evaluate", "--data FILE.csv"),
    )
    length_key = "data.max_tokens"
    class_axes = MappingProxyType(
        {
            "embed/embedding": (0, "tokens"),
            "score/kernel": (1, "classes"),
            "score/bias": (0, "classes"),
        }
    )
    metadata_keys = ("classes",)

    model: Classifier
    adversarial: float = 0.0
    is_multi_label: bool = False

    @staticmethod
    def load_corpus(config: Config) -> Corpus:
        """Loads labelled text."""
        return data.load_corpus(config.data)

    @staticmethod
    def make_dataset(
        config: Config,
        corpus: Corpus,
        vocabulary: Vocabulary | None = None,
        sibling: LabelledTextDataset | None = None,
    ) -> LabelledTextDataset:
        """Returns batches of labelled text."""
        if sibling and not config.data.validation:
            return data.reuse_dataset(sibling, config)
        return data.make_dataset(config, corpus, vocabulary)

    @classmethod
    def from_config(
        cls, config: Config, vocab_size: int, metadata: Mapping[str, Any]
    ) -> "ClassificationTask":
        """Builds the task of a config, with the classes of the data.

        An embedding has `config.data.vocabulary.size` rows, as in the lesson; one-hot inputs have
        the size of the fitted vocabulary.
        """
        embedding = config.model.embedding
        model = Classifier(
            vocabulary=config.data.vocabulary.size if embedding.features else vocab_size,
            classes=len(metadata["classes"]),
            pooling=config.model.pooling,
            **encoder_options(config.model, config.dtype),
        )
        return cls(
            model,
            embedding.trainable,
            config.model.regularization.adversarial,
            config.data.multi_label,
            trainable_rows={"embed/embedding": vocab_size} if embedding.features else {},
        )

    def loss(
        self, params: Params, batch: Batch, carry: Carry, key: jax.Array
    ) -> tuple[Float[Array, ""], tuple[Sums, Carry]]:
        """Returns the mean cross-entropy of a batch.

        With adversarial training, it is the mean of the losses of the clean and of the perturbed
        texts; the sums are of the clean ones.
        """
        params = self.stop_embedding_gradient(params)

        def total_loss(params, **perturbation):
            logits = _apply(self.model, params, batch, perturbation, rngs={"dropout": key})
            if self.is_multi_label:
                losses = multi_label.binary_cross_entropy(logits, batch.targets)
            else:
                losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch.targets)
            return jnp.sum(losses * batch.weights), logits

        loss, logits = total_loss(params)
        if self.is_multi_label:
            hits = jnp.all((logits > 0) == batch.targets, axis=-1)
        else:
            hits = jnp.argmax(logits, axis=-1) == batch.targets
        sums = {
            "loss": loss,
            "accuracy": jnp.sum(jnp.where(hits, batch.weights, 0)),
            "weight": jnp.sum(batch.weights),
        }
        if self.adversarial:

            def perturbed_loss(params, perturbation):
                return total_loss(params, **{PERTURBATION: {"vectors": perturbation}})[0]

            zeros = jnp.zeros((*batch.inputs.shape, self.model.embedding))
            gradient = jax.grad(perturbed_loss, argnums=1)(jax.lax.stop_gradient(params), zeros)
            perturbation = self.adversarial * _normalize(gradient)
            loss = (loss + perturbed_loss(params, perturbation)) / 2
        return loss / sums["weight"], (sums, carry)

    def evaluate_batch(
        self, params: Params, batch: Batch, carry: Carry
    ) -> tuple[Float[Array, "batch classes"], Carry]:
        """Returns the log-probability of each class."""
        return self._log_probabilities(_apply(self.model, params, batch)), carry

    def _log_probabilities(
        self, logits: Float[Array, "batch classes"]
    ) -> Float[Array, "batch classes"]:
        return jax.nn.log_sigmoid(logits) if self.is_multi_label else jax.nn.log_softmax(logits)

    def outcome_names(self, metadata: Mapping[str, Any], vocabulary: Vocabulary) -> tuple[str, ...]:
        """Returns the names of the classes."""
        del vocabulary
        return tuple(metadata["classes"])

    def advance(
        self,
        params: Params,
        tokens: Int[Array, "batch time"],
        mask: Bool[Array, "batch time"],
        carry: Any = None,
    ) -> tuple[Any, Float[Array, "batch classes"]]:
        """Reads the next tokens of texts; returns the carry and log-probabilities of classes."""
        outputs: Any = self.model.apply({"params": params}, tokens, mask, carry, method="advance")
        carry, logits = outputs
        return carry, self._log_probabilities(logits)

    def compute_metrics(self, split: Batches, outputs: Sequence[Any]) -> dict[str, float | int]:
        """Returns 'loss', 'accuracy', 'macro_f1', 'rows' and 'unknown_share' (of the tokens).

        Of several labels also 'micro_f1'.
        """
        log_probabilities = np.asarray(split.restore_order(outputs))
        compute = multi_label.compute_metrics if self.is_multi_label else metrics.compute_metrics
        scores = compute(split.targets, log_probabilities)
        return {**scores, "unknown_share": unknown_share(split.tokens)}

    def analyze_test(
        self,
        config: Config,
        dataset: LabelledTextDataset,
        params: Params,
        outputs: Sequence[Any],
    ) -> dict[str, Any]:
        """Returns confusions, scores of each class, accuracy by length, and worst mistakes."""
        del params
        classes, test = dataset.corpus.classes, dataset.test
        labels, lengths = test.targets, test.sequences.lengths
        log_probs = np.asarray(test.restore_order(outputs))
        if self.is_multi_label:
            rows = multi_label.worst_mistakes(labels, log_probs)
            texts = dataset.corpus.splits["test"].texts(config.data.text, rows)
            return multi_label.analyze(labels, log_probs, lengths, classes, rows, texts)
        if len(classes) <= MATRIX_CLASSES:
            matrix = confusion_matrix(labels, log_probs.argmax(axis=1), len(classes))
            confusions = {"confusion": matrix.tolist()}
        else:
            pairs = metrics.most_confused_pairs(labels, log_probs, classes)
            confusions = {"most_confused_pairs": pairs}
        rows = metrics.worst_mistakes(labels, log_probs)
        texts = dataset.corpus.splits["test"].texts(config.data.text, rows)
        counts = metrics.count_per_class(labels, log_probs)
        return {
            **confusions,
            "per_class": score_classes(counts, classes),
            "accuracy_by_length": metrics.accuracy_by_length(labels, log_probs, lengths),
            "worst_mistakes": [
                {
                    "text": text,
                    "label": classes[labels[row]],
                    "predicted": classes[log_probs[row].argmax()],
                    "probability": float(np.exp(log_probs[row].max())),
                    "probability_of_label": float(np.exp(log_probs[row, labels[row]])),
                }
                for text, row in zip(texts, rows, strict=True)
            ],
        }

    @classmethod
    def report(cls, run: Record) -> ReportPart:
        """Returns confusions, scores of each class, accuracy by length, and worst mistakes."""
        return make_report_part(run)

    @classmethod
    def trained_run(cls) -> "type[TrainedClassifier]":
        """Returns the class of trained classifiers."""
        from rnnjax.tasks.classification.trained_run import TrainedClassifier

        return TrainedClassifier


TASK = ClassificationTask


def _normalize(vectors: Float[Array, "batch time features"]) -> Float[Array, "batch time features"]:
    """Scales all vectors of a text together to a Euclidean norm of 1; zeros stay zeros."""
    norms = jnp.sqrt(jnp.sum(jnp.square(vectors), axis=(1, 2), keepdims=True))
    return vectors / jnp.maximum(norms, 1e-12)  # smaller squares underflow before their norm does


def _apply(
    model: Classifier,
    params: Params,
    batch: Batch,
    collections: Mapping[str, Any] = MappingProxyType({}),
    **options: Any,
) -> jax.Array:
    variables = {"params": params, **collections}
    logits = model.apply(variables, batch.inputs, batch.mask, **options)
    assert isinstance(logits, jax.Array)
    return logits
