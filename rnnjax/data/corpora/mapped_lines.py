"""Lines of text files larger than memory: the file itself is mapped, and where its lines begin."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from rnnjax.data.array_files import (
    ArrayWriter,
    digest_file,
    map_array,
    prepare_folder,
    read_blocks,
    release_pages,
)
from rnnjax.data.corpora.corpus import TextColumn
from rnnjax.input_files import read_utf8, reading
from rnnjax.reporting.progress import Progress

_BOM = b"\xef\xbb\xbf"
_FRAMED_BYTES = 2**20
"""Bytes of the texts that are framed at once."""


def map_lines(path: Path) -> TextColumn:
    """Maps the lines of a file, line ends included, without a byte order mark.

    A line of more than about 2 MiB becomes several texts, so that none is larger than memory. It is
    cut before a space, which leaves the tokens as they are, and between other characters only
    where a MiB has no space. The starts of the texts are kept in the cache. The file must not
    change while it is in use.

    Raises:
      InputError: it cannot be read, or is not UTF-8 text.
    """
    with reading(path):
        key, size = digest_file(path), path.stat().st_size

    def prepare(folder: Path) -> None:
        position, ends_line = 0, True
        with (
            ArrayWriter(folder / "offsets.npy", np.int64) as offsets,
            Progress(f"read {path.name}", size, unit="bytes") as progress,
        ):
            for chunk in read_utf8(path):
                if not position:
                    offsets.append(np.array([len(_BOM) if chunk.startswith(_BOM) else 0]))
                (ends,) = np.nonzero(np.frombuffer(chunk, np.uint8) == ord("\n"))
                offsets.append(position + ends + 1)
                if chunk and not len(ends):
                    offsets.append(np.array([position + _find_cut(chunk)]))
                position += len(chunk)
                ends_line = chunk.endswith(b"\n") if chunk else ends_line
                progress.update(position, examples=len(chunk))
            if not ends_line:
                offsets.append(np.array([position]))

    folder = prepare_folder("lines", path.stem, key, prepare)
    # An empty file cannot be mapped.
    utf8 = np.asarray(np.memmap(path, np.uint8, mode="r")) if size else np.zeros(0, np.uint8)
    return TextColumn(utf8, map_array(folder / "offsets.npy"))


def _find_cut(chunk: bytes) -> int:
    """Returns the last byte that is a space or, in a chunk without any, begins a character."""
    if (space := chunk.rfind(b" ", 1)) > 0:
        return space
    return int(np.flatnonzero(_starts_character(np.frombuffer(chunk, np.uint8)))[-1])


def count_characters(texts: TextColumn) -> int:
    """Returns the number of characters of texts."""
    return sum(map(_count_characters, read_blocks(texts.compact().utf8)))


def _count_characters(utf8: UInt8[np.ndarray, " bytes"]) -> int:
    return int(np.count_nonzero(_starts_character(utf8)))


def _starts_character(utf8: UInt8[np.ndarray, " bytes"]) -> np.ndarray:
    return (utf8 & 0xC0) != 0x80


def _find_character(texts: TextColumn, index: int) -> int:
    """Returns the position in the bytes of a character of the joined texts."""
    position = int(texts.offsets[0])
    for block in read_blocks(texts.compact().utf8):
        count = _count_characters(block)
        if index < count:
            return position + int(np.flatnonzero(_starts_character(block))[index])
        index -= count
        position += len(block)
    return position


def split_at(texts: TextColumn, index: int) -> tuple[TextColumn, TextColumn]:
    """Splits lines at a character, or at the first line after it where there is one.

    Args:
      texts: lines of one text.
      index: of the character in the text.
    """
    position = _find_character(texts, index)
    row = int(np.searchsorted(texts.offsets, position))
    if row < len(texts):
        return texts[:row], texts[row:]
    start, end = texts.offsets[:-1], texts.offsets[-1:]
    return (
        TextColumn(texts.utf8, np.concatenate([start, [position]])),
        TextColumn(texts.utf8, np.concatenate([[position], end])),
    )


def frame_texts(texts: TextColumn) -> Iterator[bytes]:
    """Yields the bytes of texts in blocks, each text after its length in eight bytes."""
    for start, stop in itertools.pairwise(texts.split_rows(_FRAMED_BYTES)):
        part = texts[start:stop].compact()
        lengths = np.diff(part.offsets)
        heads = part.offsets[:-1] + 8 * np.arange(len(part))
        framed = np.zeros(part.num_bytes + 8 * len(part), np.uint8)
        is_text = np.ones(len(framed), bool)
        places = heads[:, None] + np.arange(8)
        framed[places] = lengths.astype("<i8").view(np.uint8).reshape(-1, 8)
        is_text[places] = False
        framed[is_text] = part.utf8
        yield framed.tobytes()
        release_pages(texts.utf8)
