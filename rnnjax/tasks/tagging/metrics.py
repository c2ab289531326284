"""Scores of predicted labels, by token, by label and by span."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from rnnjax.tasks.class_scores import count_classes, score_classes
from rnnjax.tasks.tagging.spans import SpanScores, has_spans, score_spans

Labels = Sequence[Sequence[str]]
"""The labels of each text."""


def summarize(references: Labels, predictions: Labels) -> dict[str, float]:
    """Returns 'macro_f1' over the labels that occur and, of an IOB scheme, scores of spans.

    Args:
      references: labels as the data has them.
      predictions: as many.
    """
    scores = {
        "macro_f1": float(np.mean([row["f1"] for row in score_labels(references, predictions)]))
    }
    if has_spans(label for row in references for label in row):
        total, _ = score_spans(references, predictions)
        scores |= {
            "span_precision": total.precision,
            "span_recall": total.recall,
            "span_f1": total.f1,
        }
    return scores


def score_labels(references: Labels, predictions: Labels) -> list[dict[str, Any]]:
    """Returns precision, recall, F1 and number of tokens of each label that occurs or is predicted.

    A ratio without a denominator is 0.
    """
    expected = np.array([label for row in references for label in row])
    predicted = np.array([label for row in predictions for label in row])
    names, indices = np.unique(np.concatenate([expected, predicted]), return_inverse=True)
    count, size = len(expected), len(names)
    return score_classes(
        count_classes(indices[:count], indices[count:], size), [str(name) for name in names]
    )


def score_span_types(references: Labels, predictions: Labels) -> list[dict[str, Any]]:
    """Returns the scores of each type of span; none without an IOB scheme."""
    if not has_spans(label for row in references for label in row):
        return []
    _, by_type = score_spans(references, predictions)
    return [_as_row(name, scores) for name, scores in by_type.items()]


def _as_row(name: str, scores: SpanScores) -> dict[str, Any]:
    return {
        "name": name,
        "precision": scores.precision,
        "recall": scores.recall,
        "f1": scores.f1,
        "rows": scores.spans,
    }
