"""Columns that are written part by part, in memory or to files that are then mapped."""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from rnnjax.data.array_files import ArrayWriter, map_array
from rnnjax.data.corpora.corpus import TextColumn


class ColumnWriter:
    """Collects the parts of an array in memory, or in a .npy file."""

    def __init__(self, path: Path | None, dtype: Any, row_shape: tuple[int, ...] = ()):
        """Opens the file.

        Args:
          path: of the file; None for memory.
          dtype: of the array.
          row_shape: of its axes after the first.
        """
        self._path = path
        self._writer = ArrayWriter(path, dtype, row_shape) if path else None
        self._parts = [np.zeros((0, *row_shape), dtype)]

    def append(self, part: Shaped[np.ndarray, "rows ..."]) -> None:
        """Appends rows."""
        if self._writer:
            self._writer.append(part)
        else:
            self._parts.append(part)

    def finish(self) -> Shaped[np.ndarray, "rows ..."]:
        """Closes the file, and returns the array."""
        if self._writer and self._path:
            self._writer.close()
            return map_array(self._path)
        return np.concatenate(self._parts)


class TextColumnWriter:
    """Collects the texts of a column in memory, or in two files of a folder."""

    def __init__(self, folder: Path | None, name: str):
        """Opens the files.

        Args:
          folder: None for memory.
          name: of the column, with which the names of its files begin.
        """
        utf8, offsets = text_paths(folder, name) if folder else (None, None)
        self._utf8, self._offsets = ColumnWriter(utf8, np.uint8), ColumnWriter(offsets, np.int64)
        self._offsets.append(np.zeros(1, np.int64))
        self._end = 0

    def append(self, column: TextColumn) -> None:
        """Appends texts."""
        column = column.compact()
        self._utf8.append(column.utf8)
        self._offsets.append(self._end + column.offsets[1:])
        self._end += column.num_bytes

    def finish(self) -> TextColumn:
        """Closes the files, and returns the column."""
        return TextColumn(self._utf8.finish(), self._offsets.finish())


def text_paths(folder: Path, name: str) -> list[Path]:
    """Returns the files of a column of text."""
    return [folder / f"{name}.{part}.npy" for part in ("utf8", "offsets")]
