"""Lines of text files of any size, read one after the other from any of them on."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rnnjax.input_files import MAX_LINE, long_line, read_utf8

_BUFFER = 2**20


class TextLines:
    """Iterates over the lines of a UTF-8 file, without a byte order mark.

    Iterating raises InputError if the file cannot be read, is not UTF-8 text, or has a line of more
    than `MAX_LINE` characters.

    Attributes:
      number: of the last line, counted from 1.
      end: bytes of the file up to its end.
    """

    def __init__(self, path: Path, newline: str, number: int = 0, end: int = 0):
        """Opens the file.

        Args:
          path: a regular file.
          newline: as for `open`.
          number: of the line before the first one to read.
          end: of that line.
        """
        stream = io.BufferedReader(_Chunks(read_utf8(path, end, number + 1)), _BUFFER)
        self._path, self.number, self.end = path, number, end
        self._text = io.TextIOWrapper(stream, "utf-8", newline=newline)

    def __iter__(self) -> "TextLines":
        return self

    def __next__(self) -> str:
        line = self._text.readline(MAX_LINE + 1)
        if not line:
            raise StopIteration
        self.number += 1
        if len(line) > MAX_LINE:
            raise long_line(self._path, self.number, MAX_LINE)
        is_first = not self.end
        self.end += len(line.encode())
        return line.removeprefix("\ufeff") if is_first else line


class _Chunks(io.RawIOBase):
    """A stream of chunks of bytes."""

    def __init__(self, chunks: Iterator[bytes]):
        self._chunks = chunks
        self._chunk = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._chunk = self._chunk or next(self._chunks, b"")
        count = min(len(buffer), len(self._chunk))
        buffer[:count] = self._chunk[:count]
        self._chunk = self._chunk[count:]
        return count
