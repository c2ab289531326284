"""Digests of what contenders compute, and their comparison."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from case_data import LayerData


def _norm(*arrays: Any) -> float:
    """Returns the Euclidean norm of all elements."""
    return float(np.sqrt(sum(np.sum(np.square(a, dtype=np.float64)) for a in arrays)))


def digest(
    data: LayerData, outputs: Any, loss: Any, input_gradient: Any, kernel_gradients: list[Any]
) -> dict[str, float]:
    """Returns a few numbers that agree for equal computations."""
    return {
        "outputs": _norm(np.asarray(outputs) * data.mask[..., None]),
        "loss": float(loss),
        "input_gradient": _norm(np.asarray(input_gradient)),
        "kernel_gradients": _norm(*map(np.asarray, kernel_gradients)),
    }


def digest_of_softmax(loss: Any, input_gradient: Any, weight_gradients: list[Any]) -> dict:
    """Returns a few numbers that agree for equal output layers."""
    return {
        "loss": float(loss),
        "input_gradient": _norm(input_gradient),
        "weight_gradients": _norm(*weight_gradients),
    }


def digest_of_steps(loss: Callable[[], float]) -> dict[str, float]:
    """Returns the first loss of ten steps on one batch, and its decrease.

    Args:
      loss: takes a step and returns the loss at its start.
    """
    losses = [loss() for _ in range(10)]
    return {"loss": losses[0], "fall": losses[0] - losses[-1]}


_TOLERANCES = {"fall": 0.2}
"""PyTorch trains two biases that are added, so that its steps are a little longer."""


def disagreement(
    expected: Mapping[str, float], actual: Mapping[str, float], tolerance: float
) -> str:
    """Returns the first difference of two digests, '' if they agree.

    Args:
      expected: digest of the reference.
      actual: digest to compare.
      tolerance: largest relative difference.
    """
    for name, value in expected.items():
        # A loss is a sum of terms of either sign, and may be far smaller than its terms.
        scale = max(abs(value), abs(expected.get("outputs", 0.0)))
        if not abs(value - actual[name]) <= _TOLERANCES.get(name, tolerance) * scale:
            return f"{name} {actual[name]:.6g} instead of {value:.6g}"
    return ""
