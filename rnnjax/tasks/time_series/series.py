"""Series of numbers: their steps in one array, missing values, and scaling."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float32, Int64

from rnnjax.data.array_files import release_pages
from rnnjax.errors import InputError

_CHUNK = 2**16
"""Steps that are read at once from a memory-mapped file."""


@dataclasses.dataclass(frozen=True, eq=False)
class SeriesTable:
    """Series of one file, with a label for each series or each step.

    Attributes:
      values: NaN where missing; may be memory-mapped.
      offsets: `[series + 1]`, the start of each series and the end of the last.
      labels: strings or floats, of each series or of each step; None where none were read.
      places: of each series in messages: 'train.ts, line 12'.
      step_places: likewise of each step; () for the place of the series and the step's number.
    """

    values: Float[np.ndarray, "steps channels"]
    offsets: Int64[np.ndarray, " ends"]
    labels: np.ndarray | None
    places: Sequence[str]
    step_places: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def place(self, step: int) -> str:
        """Returns the place of a step for messages."""
        if self.step_places:
            return self.step_places[step]
        row = int(np.searchsorted(self.offsets, step, side="right")) - 1
        return f"{self.places[row]}, step {step - int(self.offsets[row]) + 1}"


@dataclasses.dataclass(frozen=True)
class SeriesEncoder:
    """Scales series by the training part, and marks missing values.

    Attributes:
      channels: names of the channels.
      mean: of each channel in the training part.
      scale: standard deviation of each, 1 where it is constant.
      missing: '' where there are none, 'mask' or 'indicator'.
    """

    channels: tuple[str, ...]
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    missing: str

    @classmethod
    def fit(cls, table: SeriesTable, channels: Sequence[str], missing: str) -> "SeriesEncoder":
        """Fits mean and scale to the values of a training part, read in chunks.

        Raises:
          InputError: a channel has no value.
        """
        totals = np.zeros((2, len(channels)))
        for chunk in _chunks(table.values):
            totals += [np.sum(np.isfinite(chunk), axis=0), np.nansum(chunk, axis=0)]
        counts, sums = totals
        if not counts.all():
            name = channels[int(np.argmin(counts))]
            raise InputError(
                f"{table.places[0]}: the channel {name!r} has no value in the training part; leave "
                "it out by config.time_series.channels"
            )
        mean = sums / counts
        squares = sum(np.nansum((chunk - mean) ** 2, axis=0) for chunk in _chunks(table.values))
        deviation = np.sqrt(squares / counts)
        scale = np.where(deviation > 1e-12 * np.maximum(np.abs(mean), 1e-300), deviation, 1.0)
        return cls(tuple(channels), tuple(mean.tolist()), tuple(scale.tolist()), missing)

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, Any]) -> "SeriesEncoder":
        """Returns the encoder of a run's data, from the entries of `describe`."""
        names, mean, scale = (tuple(metadata[key]) for key in ("channels", "mean", "scale"))
        return cls(names, mean, scale, metadata["missing"])

    def describe(self) -> dict[str, Any]:
        """Describes the encoder for the metadata of a corpus, ready for JSON."""
        return {
            "channels": list(self.channels),
            "mean": list(self.mean),
            "scale": list(self.scale),
            "missing": self.missing,
        }

    @property
    def features(self) -> int:
        """Numbers of an encoded step."""
        return len(self.channels) * (2 if self.missing == "indicator" else 1)

    def scaled(self, values: Float[np.ndarray, "... channels"]) -> Float32[np.ndarray, "..."]:
        """Scales the leading channels of values; NaN stays NaN."""
        count = values.shape[-1]
        scaled = (values.astype(np.float64) - self.mean[:count]) / self.scale[:count]
        return scaled.astype(np.float32)

    def unscaled(
        self, inputs: Float32[np.ndarray, "... features"], observed: Bool[np.ndarray, "..."]
    ) -> Float[np.ndarray, "... channels"]:
        """Returns the values of inputs, as `__call__` returns them; NaN where one is missing."""
        count = len(self.channels)
        values = inputs[..., :count].astype(np.float64) * self.scale + self.mean
        is_missing = np.logical_not(observed)[..., None]
        if self.missing == "indicator":
            is_missing = inputs[..., count:] > 0
        return np.where(is_missing, np.nan, values)

    def __call__(
        self, values: Float[np.ndarray, "... channels"]
    ) -> tuple[Float32[np.ndarray, "... features"], Bool[np.ndarray, "..."]]:
        """Returns inputs of a network, and whether each step is observed."""
        scaled = self.scaled(values)
        is_missing = np.isnan(scaled)
        inputs = np.where(is_missing, np.float32(0), scaled)
        if self.missing == "indicator":
            inputs = np.concatenate([inputs, is_missing.astype(np.float32)], axis=-1)
            return inputs, np.ones(values.shape[:-1], bool)
        return inputs, np.logical_not(np.any(is_missing, axis=-1))


def check_values(table: SeriesTable, channels: Sequence[str], missing: str) -> None:
    """Raises InputError at the first value that is infinite, or missing where that is refused."""
    for number, chunk in enumerate(_chunks(table.values)):
        wrong = np.isinf(chunk) if missing else ~np.isfinite(chunk)
        if wrong.any():
            step, channel = (int(index) for index in np.argwhere(wrong)[0])
            place = table.place(number * _CHUNK + step)
            if np.isinf(chunk[step, channel]):
                raise InputError(
                    f"{place}: {channels[channel]!r} is infinite, expected a number: mend the value"
                )
            raise InputError(
                f"{place}: {channels[channel]!r} is missing (or NaN), expected a number: mend the "
                "value, or set config.time_series.missing to 'mask' or 'indicator'"
            )


def _chunks(values: np.ndarray):
    for start in range(0, len(values), _CHUNK):
        yield np.asarray(values[start : start + _CHUNK], np.float64)
        release_pages(values)
