"""Text classification: the network, the loss and what is counted."""

import dataclasses
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int

from rnnjax.config import Config
from rnnjax.data import labelled_text
from rnnjax.data.batches import Batch, Batches
from rnnjax.data.corpora import Corpus
from rnnjax.data.dataset import TextDataset
from rnnjax.data.vocabulary import Vocabulary, unknown_share
from rnnjax.models import Classifier
from rnnjax.models.token_encoder import PERTURBATION
from rnnjax.tasks import classification_metrics
from rnnjax.tasks.task import Carry, Params, Sums
from rnnjax.tasks.token_task import TokenTask, reader_options


@dataclasses.dataclass(frozen=True)
class ClassificationTask(TokenTask):
    """Cross-entropy over classes.

    With adversarial training: Miyato, Dai, Goodfellow, "Adversarial training methods for
    semi-supervised text classification", ICLR 2017, equations 5 and 6. There the vectors of the
    words are normalised, lest they grow until a move of constant length means nothing; here the
    move is measured by the text's own vectors.

    Attributes:
      adversarial: how far the vectors of a text are moved against it, as a share of their
        Euclidean norm; 0 for off.
    """

    model: Classifier
    adversarial: float = 0.0
    example_unit = "texts"
    score_unit = "rows"
    headline_metrics = ("accuracy", "loss")
    usage_command = "python -m rnnjax.predict"
    class_axes = MappingProxyType(
        {
            "embed/embedding": (0, "tokens"),
            "score/kernel": (1, "classes"),
            "score/bias": (0, "classes"),
        }
    )
    metadata_keys = ("classes",)

    @staticmethod
    def load_corpus(config: Config) -> Corpus:
        """Returns labelled text."""
        return labelled_text.load_corpus(config.data)

    @staticmethod
    def make_dataset(
        config: Config,
        corpus: Corpus,
        vocabulary: Vocabulary | None = None,
        sibling: TextDataset[Batches] | None = None,
    ) -> TextDataset[Batches]:
        """Returns batches of labelled text."""
        if sibling and not config.data.validation:
            return labelled_text.reuse_dataset(sibling, config)
        return labelled_text.make_dataset(config, corpus, vocabulary)

    @classmethod
    def from_config(
        cls, config: Config, vocab_size: int, metadata: Mapping[str, Any]
    ) -> "ClassificationTask":
        """Returns the task of a config; the classes are those that the data has."""
        embedding = config.model.embedding
        model = Classifier(
            # One-hot vectors need no place for tokens that cannot occur.
            vocabulary=config.data.vocabulary.size if embedding.features else vocab_size,
            classes=len(metadata["classes"]),
            pooling=config.model.pooling,
            **reader_options(config),
        )
        # Weight decay is the one thing that moves a row that never gets a gradient.
        decays = config.optimizer.weight_decay and embedding.trainable
        return cls(
            model,
            model.vocabulary if decays else vocab_size,
            embedding.trainable,
            config.model.regularization.adversarial,
        )

    def loss(
        self, live: Params, batch: Batch, carry: Carry, key: jax.Array
    ) -> tuple[Float[Array, ""], tuple[Sums, Carry]]:
        """Returns the mean cross-entropy of a batch; examples of weight zero do not count.

        In adversarial training it is the mean of that of the texts as they are, which alone is
        counted, and that of the texts moved.
        """
        model, live = self.training_model(live)

        def total(params, **perturbation):
            logits = _apply(model, params, batch, perturbation, rngs={"dropout": key})
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch.labels)
            return jnp.sum(losses * batch.weights), logits

        loss, logits = total(live)
        hits = jnp.argmax(logits, axis=-1) == batch.labels
        sums = {
            "loss": loss,
            "accuracy": jnp.sum(jnp.where(hits, batch.weights, 0)),
            "weight": jnp.sum(batch.weights),
        }
        if self.adversarial:

            def moved(params, moves):
                return total(params, **{PERTURBATION: {"vectors": moves}})[0]

            still = jnp.zeros((*batch.tokens.shape, model.embedding))
            slope = jax.grad(moved, argnums=1)(jax.lax.stop_gradient(live), still)
            loss = (loss + moved(live, self.adversarial * _directions(slope))) / 2
        return loss / sums["weight"], (sums, carry)

    def evaluate_batch(
        self, params: Params, batch: Batch, carry: Carry
    ) -> tuple[Float[Array, "batch classes"], Carry]:
        """Returns the log-probability of each class."""
        return jax.nn.log_softmax(_apply(self.model, params, batch)), carry

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
        """Returns the carry after the tokens, and the log-probability of each class."""
        advanced: Any = self.model.apply({"params": params}, tokens, mask, carry, method="advance")
        carry, logits = advanced
        return carry, jax.nn.log_softmax(logits)

    def score_each_step(
        self, params: Params, tokens: Int[Array, " time"]
    ) -> Float[Array, "time classes"]:
        """Returns the log-probabilities of texts that end at each of the tokens."""
        steps = jnp.arange(len(tokens))
        prefixes = jnp.broadcast_to(tokens, (len(tokens), len(tokens)))
        return self.advance(params, prefixes, steps[None] <= steps[:, None])[1]

    def compute_metrics(self, split: Batches, outputs: Sequence[Any]) -> dict[str, float | int]:
        """Returns 'loss', 'accuracy', 'macro_f1', 'rows' and 'unknown_share' (of the tokens)."""
        found = classification_metrics.compute_metrics(split.labels, restore_order(split, outputs))
        return {**found, "unknown_share": unknown_share(split.tokens)}

    def analyze_test(
        self, config: Config, dataset: TextDataset[Batches], params: Params, outputs: Sequence[Any]
    ) -> dict[str, Any]:
        """Returns confusion, scores of each class, accuracy by length, and the worst mistakes."""
        del params
        classes, test = dataset.corpus.classes, dataset.test
        labels, lengths = test.labels, test.sequences.lengths
        found = restore_order(test, outputs)
        if len(classes) <= classification_metrics.MATRIX_CLASSES:
            confusions = {
                "confusion": classification_metrics.confusion_matrix(labels, found).tolist()
            }
        else:
            confusions = {
                "most_confused": classification_metrics.most_confused_pairs(labels, found, classes)
            }
        rows = classification_metrics.worst_mistakes(labels, found)
        texts = dataset.corpus.splits["test"].texts(config.data.text, rows)
        return {
            **confusions,
            "per_class": classification_metrics.per_class_scores(
                classification_metrics.count_per_class(labels, found), classes
            ),
            "accuracy_by_length": classification_metrics.accuracy_by_length(labels, found, lengths),
            "worst_mistakes": [
                {
                    "text": text,
                    "label": classes[labels[row]],
                    "predicted": classes[found[row].argmax()],
                    "probability": float(np.exp(found[row].max())),
                    "probability_of_label": float(np.exp(found[row, labels[row]])),
                }
                for text, row in zip(texts, rows, strict=True)
            ],
        }


def _directions(slopes: Float[Array, "batch time features"]) -> Float[Array, "batch time features"]:
    """Returns the slope of each text with a Euclidean norm of 1; of nothing where it has none."""
    norms = jnp.sqrt(jnp.sum(jnp.square(slopes), axis=(1, 2), keepdims=True))
    return slopes / jnp.maximum(norms, 1e-12)  # below, squares vanish before what is squared


def restore_order(
    split: Batches, outputs: Sequence[Float[np.ndarray, "batch classes"]]
) -> Float[np.ndarray, "rows classes"]:
    """Returns the answers to batches in the order of the examples, each of which was in one."""
    rows = [split.indices_at(0, step) for step in range(split.steps_per_epoch)]
    result = np.empty((len(split), outputs[0].shape[1]), outputs[0].dtype)
    for answer, own in zip(outputs, rows, strict=True):
        result[own] = answer[: len(own)]
    return result


def _apply(
    model: Classifier,
    params: Params,
    batch: Batch,
    others: Mapping[str, Any] = MappingProxyType({}),
    **options: Any,
) -> jax.Array:
    logits = model.apply({"params": params, **others}, batch.tokens, batch.mask, **options)
    assert isinstance(logits, jax.Array)
    return logits
