"""Scores of predicted classes and numbers, and the losses of numbers."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

MATRIX_CLASSES = 50
"""Most classes for a confusion matrix in a result."""


def number_losses(
    predictions: Float[Array, "*shape quantiles"],
    targets: Float[Array, "*shape"],
    kind: str,
    quantiles: Sequence[float],
) -> Float[Array, "*shape"]:
    """Returns squared, absolute or mean pinball losses.

    The pinball loss of a quantile q is `max(q e, (q - 1) e)` with the error `e = target -
    prediction`. Koenker, Bassett, Regression quantiles, Econometrica 46 (1978).
    """
    errors = targets[..., None] - predictions
    if kind == "squared":
        return errors[..., 0] ** 2
    if kind == "absolute":
        return jnp.abs(errors[..., 0])
    levels = jnp.asarray(quantiles, jnp.float32).reshape((1,) * targets.ndim + (-1,))
    return jnp.mean(jnp.maximum(levels * errors, (levels - 1) * errors), axis=-1)


def score_classes(
    labels: Int[np.ndarray, " examples"],
    predicted: Int[np.ndarray, " examples"],
    names: Sequence[str],
) -> list[dict[str, Any]]:
    """Returns name, precision, recall, f1 and rows of each class; a ratio of nothing is 0."""
    size = len(names)
    hits = np.bincount(labels[labels == predicted], minlength=size)
    rows, answers = (np.bincount(ids, minlength=size) for ids in (labels, predicted))
    return [
        {
            "name": name,
            "precision": float(hits[n] / answers[n]) if answers[n] else 0.0,
            "recall": float(hits[n] / rows[n]) if rows[n] else 0.0,
            "f1": float(2 * hits[n] / (rows[n] + answers[n])) if rows[n] + answers[n] else 0.0,
            "rows": int(rows[n]),
        }
        for n, name in enumerate(names)
    ]


def macro_f1(labels: Int[np.ndarray, " n"], predicted: Int[np.ndarray, " n"]) -> float:
    """Returns the mean F1 of the classes that occur among labels or predictions."""
    occurring, ids = np.unique(np.concatenate([labels, predicted]), return_inverse=True)
    count = len(labels)
    scores = score_classes(ids[:count], ids[count:], [""] * len(occurring))
    return float(np.mean([row["f1"] for row in scores]))


def confusion_matrix(
    labels: Int[np.ndarray, " n"], predicted: Int[np.ndarray, " n"], classes: int
) -> list[list[int]]:
    """Returns counts, labels in rows and predictions in columns; [] of very many classes."""
    if classes > MATRIX_CLASSES:
        return []
    counts = np.bincount(labels * classes + predicted, minlength=classes**2)
    return counts.reshape(classes, classes).tolist()


def score_numbers(
    absolute: float, squared: float, total_squares: float, count: float
) -> dict[str, float]:
    """Returns 'mae', 'rmse' and 'r2' from sums over `count` numbers.

    Args:
      absolute: sum of absolute errors.
      squared: sum of squared errors.
      total_squares: sum of squared deviations of the targets from their mean.
      count: of the numbers.
    """
    r2 = 1 - squared / total_squares if total_squares > 0 else 0.0
    return {"mae": absolute / count, "rmse": (squared / count) ** 0.5, "r2": r2}
