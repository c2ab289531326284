"""Masks: how they are drawn, which ones a check looks at, and steps moved from one to another."""

import itertools

import numpy as np

_ALL_OF_THEM = 6
"""Up to so many positions a check looks at every mask that there is."""


def drawn(mask: np.ndarray) -> str:
    """Returns a mask as lines of text, '#' for a real step and '.' for a masked one."""
    return "\n".join("".join("#" if real else "." for real in row) for row in mask)


def masks(rows: int, steps: int) -> list[np.ndarray]:
    """Returns the masks of this size that a check looks at, the fullest first."""
    if rows * steps <= _ALL_OF_THEM:
        every = itertools.product([True, False], repeat=rows * steps)
        found = [np.array(each).reshape(rows, steps) for each in every]
        return sorted(found, key=lambda mask: -int(mask.sum()))
    kinds = _kinds(steps)
    starts = range(len(kinds)) if rows < len(kinds) else [0]
    ragged = [kinds[(start + np.arange(rows)) % len(kinds)] for start in starts]
    return [np.ones((rows, steps), bool), *ragged]


def moved(values: np.ndarray, mask: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Returns values whose real steps stand, in their order, at the real steps of another mask.

    Rows have as many real steps in one mask as in the other; the rest is zero.
    """
    result = np.zeros((*other.shape, *values.shape[2:]), values.dtype)
    result[other] = values[mask]
    return result


def flipped(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Returns values with the real steps of each row in the opposite order."""
    result = values.copy()
    for row, real in zip(result, mask, strict=True):
        row[real] = row[real][::-1]
    return result


def sorted_to(side: str, mask: np.ndarray) -> np.ndarray:
    """Returns the mask whose rows have their real steps on one side."""
    order = np.sort(mask, axis=1)
    return order if side == "end" else order[:, ::-1]


def _kinds(steps: int) -> np.ndarray:
    """Returns rows that are full, padded right, padded left, in the middle, empty, and single."""
    at, half = np.arange(steps), (steps + 1) // 2
    holes = np.isin(at, [1, 4]) | (at == steps - 1)
    return np.stack([at >= 0, at < half, at >= steps - half, ~holes, at < 0, at == steps // 2])
