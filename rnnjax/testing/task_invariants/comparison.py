"""Comparison of losses, outputs and metrics, up to rounding."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from rnnjax.testing.assertions import (
    NotApplicableError,
    ViolationError,
    assert_close,
    named_leaves,
)
from rnnjax.testing.task_harness import LossValues, TaskHarness

TOLERANCE = 1e-4
"""Largest difference that rounding explains, as a share of the largest value of its kind.

Sums of thousands of float32 numbers that are added up in another order, and states after tens of
steps, differ by some hundred epsilons of 1.2e-7; a mistake changes a score by far more.
"""


def assert_same_loss(actual: LossValues, expected: LossValues, context: str) -> None:
    """Asserts that loss, sums and gradients agree up to rounding."""
    leaves = expected.leaves()
    gradient = max(_largest(leaf) for name, leaf in leaves.items() if "gradient" in name)
    tolerances = {
        name: TOLERANCE * max(gradient if "gradient" in name else _largest(leaf), 1e-3)
        for name, leaf in leaves.items()
    }
    assert_close(actual.leaves(), leaves, tolerances, context)


def assert_same_outputs(name: str, actual: Any, expected: Any, context: str) -> None:
    """Asserts that the outputs of an evaluation agree up to rounding."""
    leaves = {f"{name}.{path}".rstrip("."): leaf for path, leaf in named_leaves(expected).items()}
    values = {f"{name}.{path}".rstrip("."): leaf for path, leaf in named_leaves(actual).items()}
    if set(values) != set(leaves):
        raise ViolationError(
            f"{name} has {', '.join(values)}, expected {', '.join(leaves)} {context}"
        )
    tolerances = {path: TOLERANCE * max(_largest(leaf), 1e-3) for path, leaf in leaves.items()}
    assert_close(values, leaves, tolerances, context)


def assert_same_metrics(
    actual: Mapping[str, Any], expected: Mapping[str, Any], context: str
) -> None:
    """Asserts that metrics agree, counts exactly and other numbers up to rounding."""
    if set(actual) != set(expected):
        raise ViolationError(
            f"the metrics are {', '.join(actual)}, expected {', '.join(expected)} {context}"
        )
    for name, value in expected.items():
        actual_value = actual[name]
        if not isinstance(value, int | float | np.number):
            continue
        is_count = isinstance(value, int | np.integer)
        tolerance = 0.0 if is_count else TOLERANCE * max(abs(float(value)), 1e-3)
        if not abs(float(actual_value) - float(value)) <= tolerance:
            limit = "it must be exact" if is_count else f"rounding allows {tolerance:.2g}"
            raise ViolationError(
                f"the metric {name!r} is {actual_value:.7g}, expected {value:.7g} {context} "
                f"({limit})"
            )


def is_stacked(leaf: Any, rows: int) -> bool:
    """Returns whether an output has an entry for each row of a batch."""
    return np.ndim(leaf) > 0 and len(leaf) == rows


def require_mask(harness: TaskHarness) -> None:
    """Raises NotApplicableError if padding is read, so that it may change scores."""
    if not harness.config.model.mask:
        raise NotApplicableError("config.model.mask is False, so that padding is read")


def _largest(leaf: Any) -> float:
    return float(np.abs(leaf).max(initial=0.0)) if np.size(leaf) else 0.0
