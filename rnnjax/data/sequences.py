"""Sequences of unequal length in one array."""

import dataclasses
import functools
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Int, Shaped

from rnnjax.data.array_files import release_pages
from rnnjax.errors import InputError

Indices = Int[np.ndarray, " examples"]
"""Positions of examples in a split."""


@dataclasses.dataclass(frozen=True)
class Sequences:
    """Sequences of tokens or of numbers, concatenated in one array.

    Attributes:
      values: of all the sequences: int32 token ids, uint16 in a file of few, or float32
        `[steps, features]`.
      offsets: int64 `[sequences + 1]`, the start of each sequence and the end of the last.
    """

    values: Shaped[np.ndarray, "steps ..."]
    offsets: Int[np.ndarray, " ends"]

    @classmethod
    def from_lists(cls, rows: Sequence[Sequence[int]]) -> "Sequences":
        """Concatenates lists of token ids."""
        offsets = _cumulate([len(row) for row in rows])
        values = np.fromiter(itertools.chain.from_iterable(rows), np.int32, count=offsets[-1])
        return cls(values, offsets)

    @classmethod
    def from_padded(
        cls, rows: Shaped[np.ndarray, "rows time ..."], lengths: Int[np.ndarray, " rows"]
    ) -> "Sequences":
        """Concatenates the first steps of padded rows: integers as int32, other numbers as float32.

        Raises:
          InputError: a length is negative or more than the steps of a row, or a number is not
            finite.
        """
        lengths = np.asarray(lengths)
        if rows.ndim < 2:
            raise InputError(f"rows: given the shape {rows.shape}, expected [rows, time, ...]")
        if lengths.shape != rows.shape[:1] or np.any((lengths < 0) | (lengths > rows.shape[1])):
            raise InputError(
                f"lengths: given {lengths.shape} from {lengths.min(initial=0)} to "
                f"{lengths.max(initial=0)}, expected one for each of {len(rows)} rows, from 0 to "
                f"{rows.shape[1]}"
            )
        values = rows[np.arange(rows.shape[1]) < lengths[:, None]]
        if not np.all(np.isfinite(values)):
            raise InputError("values: some are not finite; mask their steps, or replace them")
        dtype = np.int32 if np.issubdtype(values.dtype, np.integer) else np.float32
        return cls(values.astype(dtype), _cumulate(lengths))

    @classmethod
    def concatenate(cls, parts: Sequence["Sequences"]) -> "Sequences":
        """Joins sequences of one kind."""
        lengths = np.concatenate([part.lengths for part in parts])
        return cls(np.concatenate([part.values for part in parts]), _cumulate(lengths))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @functools.cached_property
    def lengths(self) -> Indices:
        """The number of steps of each sequence."""
        lengths = narrow(np.diff(self.offsets))
        release_pages(self.offsets)
        return lengths

    def take(self, indices: Indices) -> "Sequences":
        """Selects sequences by index, in that order."""
        lengths = self.lengths[indices]
        offsets = _cumulate(lengths)
        # All steps of a sequence move by the same distance.
        shifts = np.repeat(self.offsets[indices] - offsets[:-1], lengths)
        return Sequences(self.values[shifts + np.arange(offsets[-1])], offsets)

    def pad(
        self, indices: Int[np.ndarray, "*shape"], time: int
    ) -> tuple[Shaped[np.ndarray, "*padded"], Bool[np.ndarray, "*shape time"]]:
        """Pads sequences with zeros, and returns their values and mask.

        Args:
          indices: of the sequences; -1 for an empty one.
          time: padded length, at least that of the longest.
        """
        valid = indices >= 0
        lengths = np.where(valid, self.lengths[indices], 0)
        mask = np.arange(time) < lengths[..., None]
        dtype = np.int32 if self.values.dtype == np.uint16 else self.values.dtype
        values = np.zeros((*mask.shape, *self.values.shape[1:]), dtype)
        values[mask] = self.take(indices[valid]).values
        release_pages(self.values)
        release_pages(self.offsets)
        return values, mask


def _cumulate(lengths: Any) -> Int[np.ndarray, " ends"]:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def narrow(values: Int[np.ndarray, " items"]) -> Int[np.ndarray, " items"]:
    """Returns integers from 0 on as int32, in half the memory, where all of them fit."""
    dtype = np.result_type(np.int32, np.min_scalar_type(values.max(initial=0)))
    return values.astype(dtype, copy=False)


def longest(sequences: Sequences) -> int:
    """Returns the number of steps of the longest sequence, at least 1."""
    return max(int(sequences.lengths.max()), 1)
