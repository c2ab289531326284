"""Metrics of classifiers: accuracy, F1, frequent confusions, accuracy by length, mistakes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from rnnjax.tasks.class_scores import ClassCounts, count_classes, macro_f1


def count_per_class(
    labels: Int[np.ndarray, " rows"], log_probabilities: Float[np.ndarray, "rows classes"]
) -> ClassCounts:
    """Counts rows, predictions and hits of each class."""
    predicted, classes = log_probabilities.argmax(axis=1), log_probabilities.shape[1]
    return count_classes(labels, predicted, classes)


def compute_metrics(
    labels: Int[np.ndarray, " rows"], log_probabilities: Float[np.ndarray, "rows classes"]
) -> dict[str, float | int]:
    """Returns loss (mean cross-entropy in nats), accuracy, macro_f1 and rows.

    macro_f1 is the mean over the classes that occur among labels or predictions.
    """
    counts = count_per_class(labels, log_probabilities)
    label_log_probs = log_probabilities[np.arange(len(labels)), labels]
    return {
        "loss": float(-np.mean(label_log_probs, dtype=np.float64)),
        "accuracy": float(counts.hits.sum() / len(labels)),
        "macro_f1": macro_f1(counts),
        "rows": len(labels),
    }


def most_confused_pairs(
    labels: Int[np.ndarray, " rows"],
    log_probabilities: Float[np.ndarray, "rows classes"],
    names: Sequence[str],
    limit: int = 50,
) -> list[dict[str, Any]]:
    """Returns label, predicted, rows and share (of the label's rows) of frequent errors."""
    predicted, classes = log_probabilities.argmax(axis=1), log_probabilities.shape[1]
    wrong = predicted != labels
    pairs = labels[wrong].astype(np.int64) * classes + predicted[wrong]
    pair_ids, counts = np.unique(pairs, return_counts=True)
    rows = np.bincount(labels, minlength=classes)
    return [
        {
            "label": names[label],
            "predicted": names[prediction],
            "rows": int(count),
            "share": float(count / rows[label]),
        }
        for index in np.argsort(-counts, kind="stable")[:limit]
        for (label, prediction), count in [(divmod(int(pair_ids[index]), classes), counts[index])]
    ]


def accuracy_by_length(
    labels: Int[np.ndarray, " rows"],
    log_probabilities: Float[np.ndarray, "rows classes"],
    lengths: Int[np.ndarray, " rows"],
    groups: int = 8,
) -> list[dict[str, Any]]:
    """Returns the accuracy by length, as `length_bins`."""
    return length_bins(log_probabilities.argmax(axis=1) == labels, lengths, groups)


def length_bins(
    hits: Bool[np.ndarray, " rows"], lengths: Int[np.ndarray, " rows"], groups: int = 8
) -> list[dict[str, Any]]:
    """Returns from, to (tokens, both included), rows and accuracy of groups of about equal size."""
    ends = np.unique(np.quantile(lengths, np.linspace(0, 1, groups + 1)[1:], method="higher"))
    group = np.searchsorted(ends, lengths)
    return [
        {
            "from": int(lengths[group == index].min()),
            "to": int(lengths[group == index].max()),
            "rows": int(np.sum(group == index)),
            "accuracy": float(np.mean(hits[group == index])),
        }
        for index in range(len(ends))
    ]


def worst_mistakes(
    labels: Int[np.ndarray, " rows"],
    log_probabilities: Float[np.ndarray, "rows classes"],
    limit: int = 20,
) -> Int[np.ndarray, " mistakes"]:
    """Returns the misclassified rows by rising probability of their label."""
    label_log_probs = log_probabilities[np.arange(len(labels)), labels]
    order = np.argsort(label_log_probs, kind="stable")
    return order[log_probabilities.argmax(axis=1)[order] != labels[order]][:limit]
