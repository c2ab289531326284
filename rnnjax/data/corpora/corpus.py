"""Labelled text in memory-mapped columns."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int64, Shaped, UInt8

from rnnjax.data.sequences import Indices, Sequences
from rnnjax.errors import InputError


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

    def take(self, rows: Indices) -> "TextColumn":
        """Selects texts by row, in that order."""
        taken = Sequences(self.utf8, self.offsets).take(rows)
        return TextColumn(taken.values, taken.offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row):
        if isinstance(row, slice):
            return [self._text(i) for i in range(*row.indices(len(self)))]
        if not -len(self) <= row < len(self):
            raise IndexError(f"row {row} of {len(self)}")
        return self._text(row % len(self))

    def __iter__(self) -> Iterator[str]:
        return map(self._text, range(len(self)))

    def _text(self, row: int) -> str:
        return self.utf8[self.offsets[row] : self.offsets[row + 1]].tobytes().decode()


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
        columns = [self.fields[name] for name in names]
        if rows is None:
            rows = slice(None)
        if isinstance(rows, slice):
            fields = [column[rows] for column in columns]
        else:
            fields = [[column[row] for row in rows] for column in columns]
        return [" ".join(texts) for texts in zip(*fields, strict=True)]


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
