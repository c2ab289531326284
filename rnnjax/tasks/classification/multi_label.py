"""Loss and metrics of texts that have any number of labels."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int, Shaped

from rnnjax.tasks.class_scores import ClassCounts, macro_f1, score_classes
from rnnjax.tasks.classification.metrics import length_bins

THRESHOLD = 0.5
"""Probability above which a label is predicted."""
NO_LABEL = "(no label)"


def binary_cross_entropy(
    logits: Float[Array, "batch classes"], targets: Shaped[Any, "batch classes"]
) -> Float[Array, " batch"]:
    """Returns the mean binary cross-entropy of the labels of each text, in nats."""
    losses = optax.sigmoid_binary_cross_entropy(logits, jnp.asarray(targets, logits.dtype))
    return jnp.mean(losses, axis=-1)


def predicted_labels(log_probabilities: Float[np.ndarray, "rows classes"]) -> np.ndarray:
    """Returns which labels have a probability above the threshold, bool `[rows, classes]`."""
    return log_probabilities > np.log(np.float32(THRESHOLD))


def count_per_label(
    targets: Bool[np.ndarray, "rows classes"], log_probabilities: Float[np.ndarray, "rows classes"]
) -> ClassCounts:
    """Counts rows, predictions and hits of each label."""
    predicted = predicted_labels(log_probabilities)
    return ClassCounts(*(rows.sum(axis=0) for rows in (targets & predicted, targets, predicted)))


def compute_metrics(
    targets: Bool[np.ndarray, "rows classes"], log_probabilities: Float[np.ndarray, "rows classes"]
) -> dict[str, float | int]:
    """Returns loss, accuracy, macro_f1, micro_f1 and rows.

    loss is the mean binary cross-entropy in nats; accuracy the share of rows of which all labels
    are right (subset accuracy). macro_f1 is the mean over the labels that occur in the rows or are
    predicted; micro_f1 is that of all labels counted together. Both are 0 where nothing occurs.
    """
    counts = count_per_label(targets, log_probabilities)
    (total,) = score_classes(ClassCounts(*(np.array([count.sum()]) for count in counts)), [""])
    hits = np.all(predicted_labels(log_probabilities) == targets, axis=1)
    return {
        "loss": float(np.mean(_losses(targets, log_probabilities))),
        "accuracy": float(np.mean(hits)),
        "macro_f1": macro_f1(counts),
        "micro_f1": total["f1"],
        "rows": len(targets),
    }


def worst_mistakes(
    targets: Bool[np.ndarray, "rows classes"],
    log_probabilities: Float[np.ndarray, "rows classes"],
    limit: int = 20,
) -> Int[np.ndarray, " mistakes"]:
    """Returns the rows with a wrong label by falling loss."""
    wrong = np.any(predicted_labels(log_probabilities) != targets, axis=1)
    order = np.argsort(-_losses(targets, log_probabilities), kind="stable")
    return order[wrong[order]][:limit]


def analyze(
    targets: Bool[np.ndarray, "rows classes"],
    log_probabilities: Float[np.ndarray, "rows classes"],
    lengths: Int[np.ndarray, " rows"],
    classes: Sequence[str],
    mistakes: Int[np.ndarray, " mistakes"],
    texts: Sequence[str],
) -> dict[str, Any]:
    """Returns scores of each label, accuracy by length, and worst mistakes.

    Args:
      targets: labels of the test rows.
      log_probabilities: of the labels.
      lengths: of the texts, in tokens.
      classes: names of the labels.
      mistakes: as `worst_mistakes` returns them.
      texts: of these rows.
    """
    predicted = predicted_labels(log_probabilities)
    hits = np.all(predicted == targets, axis=1)
    return {
        "per_class": score_classes(count_per_label(targets, log_probabilities), classes),
        "accuracy_by_length": length_bins(hits, lengths),
        "worst_mistakes": [
            {
                "text": text,
                "label": join_labels(classes, targets[row]),
                "predicted": join_labels(classes, predicted[row]),
            }
            for text, row in zip(texts, mistakes, strict=True)
        ],
    }


def join_labels(classes: Sequence[str], row: Bool[np.ndarray, " classes"]) -> str:
    """Returns the names of the labels of a row, separated by commas."""
    return ", ".join(name for name, is_set in zip(classes, row, strict=True) if is_set) or NO_LABEL


def _losses(targets: np.ndarray, log_probabilities: np.ndarray) -> Float[np.ndarray, " rows"]:
    positive = log_probabilities.astype(np.float64)
    # Of a logit above 100, whose float32 log-probability is 0, the loss is at most 745.
    negative = np.log(np.maximum(-np.expm1(positive), np.finfo(np.float64).smallest_subnormal))
    return -np.mean(np.where(targets, positive, negative), axis=1)
