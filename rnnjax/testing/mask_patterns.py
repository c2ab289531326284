"""Masks of a batch, and values rearranged from one mask to another."""

import itertools
from typing import Any

import numpy as np

_MAX_EXHAUSTIVE_SIZE = 6
"""Up to so many positions all possible masks are generated."""


def format_mask(mask: np.ndarray) -> str:
    """Returns a mask as lines of text, '#' for a real step and '.' for a masked one."""
    return "\n".join("".join("#" if real else "." for real in row) for row in mask)


def generate_masks(rows: int, steps: int) -> list[np.ndarray]:
    """Returns the masks of this size to check, the fullest first."""
    if rows * steps <= _MAX_EXHAUSTIVE_SIZE:
        combinations = itertools.product([True, False], repeat=rows * steps)
        masks = [np.array(flags).reshape(rows, steps) for flags in combinations]
        return sorted(masks, key=lambda mask: -int(mask.sum()))
    patterns = _row_patterns(steps)
    starts = range(len(patterns)) if rows < len(patterns) else [0]
    ragged = [patterns[(start + np.arange(rows)) % len(patterns)] for start in starts]
    return [np.ones((rows, steps), bool), *ragged]


def align_axes(array: Any, values: Any) -> Any:
    """Appends axes of size one, so that an array broadcasts over the last axes of values."""
    return array.reshape(array.shape + (1,) * (values.ndim - array.ndim))


def move_steps(values: np.ndarray, source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Moves the real steps of one mask, in order, to the real steps of another.

    Rows have as many real steps in one mask as in the other; masked steps become zero.
    """
    result = np.zeros((*target.shape, *values.shape[2:]), values.dtype)
    result[target] = values[source]
    return result


def reverse_steps(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Reverses the order of the real steps of each row."""
    result = values.copy()
    for row, real in zip(result, mask, strict=True):
        row[real] = row[real][::-1]
    return result


def left_padded(mask: np.ndarray) -> np.ndarray:
    """Returns the mask whose rows have their real steps at the end."""
    return np.sort(mask, axis=1)


def right_padded(mask: np.ndarray) -> np.ndarray:
    """Returns the mask whose rows have their real steps at the start."""
    return left_padded(mask)[:, ::-1]


def _row_patterns(steps: int) -> np.ndarray:
    """Returns full, right padded, left padded, interrupted, empty and single-step rows."""
    step, half = np.arange(steps), (steps + 1) // 2
    holes = np.isin(step, [1, 4]) | (step == steps - 1)
    return np.stack(
        [step >= 0, step < half, step >= steps - half, ~holes, step < 0, step == steps // 2]
    )
