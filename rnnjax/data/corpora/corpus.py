"""Labelled text in memory-mapped columns."""

import dataclasses
import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, overload

import numpy as np
from jaxtyping import Int64, Shaped, UInt8

from rnnjax.data.array_files import read_blocks, release_pages
from rnnjax.data.sequences import Indices, Sequences, narrow
from rnnjax.errors import InputError

_ROWS_IN_MEMORY = 10_000
"""Rows of mapped columns that are iterated before their pages are unloaded."""


@dataclasses.dataclass(frozen=True)
class TextColumn(Sequence[str]):
    """Concatenated UTF-8 texts; text `i` is `utf8[offsets[i] : offsets[i + 1]]`."""

    utf8: UInt8[np.ndarray, " bytes"]
    offsets: Int64[np.ndarray, " rows+1"]

    @classmethod
    def from_texts(cls, texts: Iterable[str]) -> "TextColumn":
        """Concatenates texts."""
        parts = [text.encode() for text in texts]
        offsets = np.cumsum([0, *map(len, parts)], dtype=np.int64)
        return cls(np.frombuffer(b"".join(parts), np.uint8), offsets)

    @property
    def num_bytes(self) -> int:
        """Number of bytes of all texts."""
        return int(self.offsets[-1] - self.offsets[0])

    def split_rows(self, num_bytes: int) -> list[int]:
        """Returns rows, rising from the first to the end, with about so many bytes between them."""
        return _split_at(self.offsets, num_bytes)

    def take(self, rows: Indices) -> "TextColumn":
        """Selects texts by row, in that order."""
        taken = Sequences(self.utf8, self.offsets).take(rows)
        return TextColumn(taken.values, taken.offsets)

    def compact(self) -> "TextColumn":
        """Returns the same texts with offsets from 0, without the bytes around them."""
        start, end = self.offsets[0], self.offsets[-1]
        return TextColumn(self.utf8[start:end], self.offsets - start)

    def release(self) -> None:
        """Unloads the pages of a mapped column from memory."""
        release_pages(self.utf8)
        release_pages(self.offsets)

    def update_digest(self, digest: Any) -> None:
        """Hashes bytes and offsets."""
        for array in (self.utf8[self.offsets[0] : self.offsets[-1]], self.offsets):
            digest.update(str(len(array)).encode())
            for block in read_blocks(array):
                digest.update(block.tobytes())

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @overload
    def __getitem__(self, row: int) -> str: ...

    @overload
    def __getitem__(self, row: slice) -> "TextColumn": ...

    def __getitem__(self, row: int | slice) -> "str | TextColumn":
        if isinstance(row, slice):
            start, stop, step = row.indices(len(self))
            if step == 1:
                return TextColumn(self.utf8, self.offsets[start : max(start, stop) + 1])
            return self.take(np.arange(start, stop, step))
        if not -len(self) <= row < len(self):
            raise IndexError(f"row {row} of {len(self)}")
        return self.text(row)

    def __iter__(self) -> Iterator[str]:
        for row in range(len(self)):
            yield self.text(row)
            if row % _ROWS_IN_MEMORY == 0:
                self.release()

    def text(self, row: int) -> str:
        """Returns the text of a row; a negative one counts from the end."""
        row %= len(self)
        return self.utf8[self.offsets[row] : self.offsets[row + 1]].tobytes().decode()


def _split_at(ends: Int64[np.ndarray, " rows+1"], num_bytes: int) -> list[int]:
    targets = np.arange(ends[0] + num_bytes, ends[-1], num_bytes)
    rows = np.searchsorted(ends, targets)
    return np.unique([0, *rows, len(ends) - 1]).tolist()


@dataclasses.dataclass(frozen=True)
class JoinedTexts(Sequence[str]):
    """Texts of some rows of one or more columns, joined by a space when they are read."""

    columns: tuple[TextColumn, ...]
    rows: Indices

    @property
    def num_bytes(self) -> int:
        """Number of bytes of all texts, spaces included."""
        return int(self._ends[-1])

    @functools.cached_property
    def _ends(self) -> Int64[np.ndarray, " rows+1"]:
        ends = np.zeros(len(self.rows) + 1, np.int64)
        for start in range(0, len(self.rows), _ROWS_IN_MEMORY):
            rows = self.rows[start : start + _ROWS_IN_MEMORY]
            lengths = ends[start + 1 : start + 1 + len(rows)]
            lengths += len(self.columns) - 1
            for column in self.columns:
                lengths += column.offsets[rows + 1] - column.offsets[rows]
                column.release()
        return np.cumsum(ends, out=ends)

    def take(self, rows: Indices) -> "JoinedTexts":
        """Selects texts, in that order, which are not loaded into memory."""
        return JoinedTexts(self.columns, self.rows[rows])

    def split_rows(self, num_bytes: int) -> list[int]:
        """Returns rows, as `TextColumn.split_rows` does."""
        return _split_at(self._ends, num_bytes)

    def compact(self) -> TextColumn:
        """Returns the texts in memory."""
        return TextColumn.from_texts(self)

    def update_digest(self, digest: Any) -> None:
        """Hashes columns and rows."""
        digest.update(np.ascontiguousarray(self.rows))
        for column in self.columns:
            column.update_digest(digest)

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> "JoinedTexts": ...

    def __getitem__(self, index: int | slice) -> "str | JoinedTexts":
        if isinstance(index, slice):
            return JoinedTexts(self.columns, self.rows[index])
        return " ".join(column.text(int(self.rows[index])) for column in self.columns)

    def __iter__(self) -> Iterator[str]:
        for number, row in enumerate(self.rows.tolist()):
            yield " ".join([column.text(row) for column in self.columns])
            if number % _ROWS_IN_MEMORY == 0:
                for column in self.columns:
                    column.release()


@dataclasses.dataclass(frozen=True)
class CorpusSplit:
    """The training or the test split: a label for each row, and text in named fields."""

    labels: Shaped[np.ndarray, "rows ..."]
    """The class of each row, int32, counted from 0; or of several labels bool `[rows, classes]`."""
    fields: Mapping[str, TextColumn]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: Indices) -> "CorpusSplit":
        """Selects rows, in that order."""
        fields = {name: column.take(rows) for name, column in self.fields.items()}
        return CorpusSplit(self.labels[rows], fields)

    def texts(self, text: str, rows: slice | Sequence[int] | np.ndarray | None = None) -> list[str]:
        """Returns the texts of some rows, or of all.

        Args:
          text: as for `joined_texts`.
          rows: as for `joined_texts`.

        Raises:
          InputError: a field is missing.
        """
        return list(self.joined_texts(text, rows))

    def joined_texts(
        self, text: str, rows: slice | Sequence[int] | np.ndarray | None = None
    ) -> JoinedTexts:
        """Returns the texts of some rows, or of all, which are not loaded into memory.

        Args:
          text: names of fields joined by '+', such as 'title+description'. Their texts are joined
            by a space.
          rows: a slice, or indices in any order; None for all.

        Raises:
          InputError: a field is missing.
        """
        names = text.split("+")
        for name in names:
            if name not in self.fields:
                raise InputError(
                    f"text {text!r}: there is no field {name!r}; "
                    f"use {' or '.join(map(repr, self.fields))}, or several joined by '+'"
                )
        if rows is None:
            rows = slice(None)
        columns = tuple(self.fields[name] for name in names)
        return JoinedTexts(columns, narrow(np.arange(len(self)))[rows])


@dataclasses.dataclass(frozen=True)
class Corpus:
    """Labelled text and its source."""

    name: str
    source: str
    """A sentence for people."""
    fallback: str
    """The name of this corpus if it is the fallback of the requested one; '' otherwise."""
    fingerprint: str
    """SHA-256 of classes, labels and texts, in their order: the same wherever they are the same."""
    classes: tuple[str, ...]
    splits: Mapping[str, CorpusSplit]
    """'train', 'test' and, if it has rows of its own, 'validation'."""
    is_stratified: bool = False
    """Whether a validation split has a share of each class."""

    def describe(self) -> dict[str, Any]:
        """Describes the corpus for the files of a run, ready for JSON."""
        return {
            "name": self.name,
            "source": self.source,
            "fallback": self.fallback,
            "fingerprint": self.fingerprint,
            "classes": list(self.classes),
        }
