"""Columns of text that are written row by row, in memory or to files that are then mapped."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rnnjax.data.array_files import ArrayWriter, map_array, release_pages
from rnnjax.data.corpora.corpus import TextColumn
from rnnjax.data.sequences import Indices

_ROWS = 5_000
"""Texts that are written at once."""


class TextColumnWriter:
    """Collects the texts of a column in memory, or in two files of a folder."""

    def __init__(self, folder: Path | None, name: str):
        """Opens the files.

        Args:
          folder: None for memory.
          name: of the column, with which the names of its files begin.
        """
        self._parts: list[TextColumn] = []
        self._pending: list[str] = []
        self._end = 0
        self._writers = None
        if folder:
            self._paths = [folder / f"{name}.{part}.npy" for part in ("utf8", "offsets")]
            self._writers = [
                ArrayWriter(path, dtype)
                for path, dtype in zip(self._paths, (np.uint8, np.int64), strict=True)
            ]
            self._writers[1].append(np.zeros(1, np.int64))

    def append(self, text: str) -> None:
        """Appends a text."""
        self._pending.append(text)
        if len(self._pending) == _ROWS:
            self._flush()

    def extend(self, column: TextColumn, rows: Indices) -> None:
        """Appends some rows of a column."""
        self._flush()
        for start in range(0, len(rows), _ROWS):
            self._write(column.take(rows[start : start + _ROWS]))
            release_pages(column.utf8)

    def finish(self) -> TextColumn:
        """Closes the files, and returns the column."""
        self._flush()
        if self._writers is None:
            return _concatenate(self._parts)
        for writer in self._writers:
            writer.close()
        return TextColumn(*map(map_array, self._paths))

    def _flush(self) -> None:
        if self._pending:
            self._write(TextColumn.from_texts(self._pending))
            self._pending = []

    def _write(self, part: TextColumn) -> None:
        if self._writers is None:
            self._parts.append(part)
            return
        utf8, offsets = self._writers
        utf8.append(part.utf8)
        offsets.append(self._end + part.offsets[1:])
        self._end += part.num_bytes


def _concatenate(parts: Sequence[TextColumn]) -> TextColumn:
    utf8 = np.concatenate([np.zeros(0, np.uint8), *(part.utf8 for part in parts)])
    lengths = np.concatenate([np.zeros(0, np.int64), *(np.diff(part.offsets) for part in parts)])
    return TextColumn(utf8, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))
