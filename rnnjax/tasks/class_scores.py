"""Scores of predicted classes: precision, recall and F1 of each, their mean, and confusions."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int

from rnnjax.reporting.run_schema import RecordModel, Share

MATRIX_CLASSES = 50
"""Most classes for a confusion matrix in a result."""


class ClassScores(RecordModel):
    """Scores of one class in a result; None where a class without rows leaves them undefined."""

    name: str
    precision: Share = None
    recall: Share = None
    f1: Share = None
    rows: int = 0


class ClassCounts(NamedTuple):
    """Counts of each class.

    Attributes:
      hits: rows of the class predicted correctly.
      rows: rows of the class.
      predictions: rows predicted as the class.
    """

    hits: Int[np.ndarray, " classes"]
    rows: Int[np.ndarray, " classes"]
    predictions: Int[np.ndarray, " classes"]


def count_classes(
    labels: Int[np.ndarray, " rows"], predicted: Int[np.ndarray, " rows"], classes: int
) -> ClassCounts:
    """Counts rows, predictions and hits of each class, in memory linear in the classes."""
    hits = labels[predicted == labels]
    return ClassCounts(*(np.bincount(ids, minlength=classes) for ids in (hits, labels, predicted)))


def score_classes(counts: ClassCounts, names: Sequence[str]) -> list[dict[str, Any]]:
    """Returns name, precision, recall, f1 and rows of each class; a ratio of nothing is 0."""
    hits, rows, predictions = counts

    def ratio(numerator: Any, denominator: Any) -> float:
        return float(numerator / denominator) if denominator else 0.0

    return [
        {
            "name": name,
            "precision": ratio(hits[index], predictions[index]),
            "recall": ratio(hits[index], rows[index]),
            "f1": ratio(2 * hits[index], rows[index] + predictions[index]),
            "rows": int(rows[index]),
        }
        for index, name in enumerate(names)
    ]


def macro_f1(counts: ClassCounts) -> float:
    """Returns the mean F1 of the classes that have rows or predictions; 0 if none has."""
    occurs = counts.rows + counts.predictions > 0
    occurring = ClassCounts(*(count[occurs] for count in counts))
    scores = score_classes(occurring, [""] * len(occurring.rows))
    return float(np.mean([row["f1"] for row in scores])) if scores else 0.0


def confusion_matrix(
    labels: Int[np.ndarray, " rows"], predicted: Int[np.ndarray, " rows"], classes: int
) -> Int[np.ndarray, "classes classes"]:
    """Returns the confusion matrix: labels in rows, predictions in columns."""
    pairs = labels * classes + predicted
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)
