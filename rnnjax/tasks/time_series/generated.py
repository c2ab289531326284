"""Generated series of which the best possible predictions are known."""

import math
from typing import NamedTuple

import numpy as np

from rnnjax.tasks.time_series.series import SeriesTable

DESCRIPTION = "generated autoregressive series with a known best prediction"
_PERIODS, _RADIUS = (4, 6, 9), 0.85
_SHORTEST, _LONGEST = 15, 40
_ROWS = {"train": 900, "test": 600}
_STREAM = 20_261_129


class GeneratedSeries(NamedTuple):
    """Series of each split, and the scores of the best predictions of the test split.

    Attributes:
      splits: 'train' and 'test'.
      best_accuracy: of the class with the highest likelihood.
      best_rmse: of the next value, if the class is known.
    """

    splits: dict[str, SeriesTable]
    best_accuracy: float
    best_rmse: float


def generate() -> GeneratedSeries:
    """Draws series `x[t] = a x[t-1] + b x[t-2] + e[t]` from zeros, with standard normal `e`.

    A class has `a = 2 r cos(2 pi / period)` and `b = -r r`: a noisy oscillation. Box, Jenkins, Time
    series analysis, 1970, chapter 3.
    """
    drawn = {name: _draw(rows, number) for number, (name, rows) in enumerate(_ROWS.items())}
    splits = {}
    for name, (values, labels, lengths) in drawn.items():
        steps = np.arange(_LONGEST) < lengths[:, None]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        names = np.array([f"period {_PERIODS[label]}" for label in labels])
        places = [f"generated series {row + 1}" for row in range(len(lengths))]
        splits[name] = SeriesTable(values[steps][:, None], offsets, names, places)
    values, labels, lengths = drawn["test"]
    errors = np.stack([_residuals(values, *_coefficients(period)) for period in _PERIODS])
    steps = np.arange(_LONGEST) < lengths[:, None]
    likelihood = -np.where(steps, errors**2, 0).sum(axis=-1)
    steps[:, 0] = False  # no value is before the first
    best = errors[labels, np.arange(len(labels))][steps]
    accuracy = float(np.mean(likelihood.argmax(axis=0) == labels))
    return GeneratedSeries(splits, accuracy, float(np.sqrt(np.mean(best**2))))


def _coefficients(period: int) -> tuple[float, float]:
    return 2 * _RADIUS * math.cos(2 * math.pi / period), -(_RADIUS**2)


def _draw(rows: int, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    # The raw stream, which NumPy never changes, as for `rnnjax.data.batches.permutation`.
    stream = np.random.PCG64(np.random.SeedSequence((_STREAM, number)))
    words = stream.random_raw(rows * (1 + 2 * _LONGEST)).reshape(rows, -1)
    uniform = ((words >> np.uint64(11)) + 0.5) * 2.0**-53
    first, second = np.split(uniform[:, 1:], 2, axis=1)
    noise = np.sqrt(-2 * np.log(first)) * np.cos(2 * math.pi * second)  # Box, Muller, 1958
    lengths = _SHORTEST + (uniform[:, 0] * (_LONGEST - _SHORTEST + 1)).astype(int)
    labels = np.arange(rows) % len(_PERIODS)
    coefficients = np.array([_coefficients(period) for period in _PERIODS])[labels]
    values = np.zeros((rows, _LONGEST + 2))
    for step in range(_LONGEST):
        lags = coefficients[:, 0] * values[:, step + 1] + coefficients[:, 1] * values[:, step]
        values[:, step + 2] = lags + noise[:, step]
    return values[:, 2:], labels, lengths


def _residuals(values: np.ndarray, first: float, second: float) -> np.ndarray:
    padded = np.pad(values, [(0, 0), (2, 0)])
    return values - first * padded[:, 1:-1] - second * padded[:, :-2]
