"""Files of word vectors, as word2vec, GloVe and fastText write them, read as a stream.

Text has a word and its numbers on a line, and with word2vec and fastText a first line that says how
many words and how many numbers. Binary of word2vec has that line too, then for each word its
letters, a space and float32 numbers, lowest byte first. Either may be packed with gzip. Which one a
file is, it shows itself: its name does not matter.
"""

import codecs
import contextlib
import gzip
import hashlib
import io
import itertools
import zlib
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32

from rnnjax.errors import InputError
from rnnjax.reporting.progress import Progress

_CHUNK = 2**20
_MEGABYTE = 10**6
_GZIP = b"\x1f\x8b"
_CONTROL = {*range(9), *range(14, 32), 127}
"""Bytes that no text holds. A row of some dozens of float32 numbers is all but sure to have one."""
_OF_NUMBERS = b"0123456789.+-eE \t\r\n\v\f"


def check_beginning(path: Path, features: int) -> None:
    """Raises InputError if a file cannot be read, is none of vectors, or has them of another size.

    Only its beginning is read.
    """
    with _opened(path) as raw:
        _kind(_unpacked(raw), path, features)


def read_vectors(
    path: Path,
    words: Collection[str],
    features: int,
    normalize: Callable[[str], str] = str,
) -> tuple[dict[str, Float32[np.ndarray, " features"]], str]:
    """Returns the vectors of those words that a file has, and the SHA-256 of the file.

    The file is streamed: memory holds the vectors of the words alone. A word that is not in the
    file as it is written gets the vector of the first one that is the same when normalized: 'us'
    that of 'U.S.' if there is no 'us'. Of a word that comes twice, the first counts. Words that
    are not UTF-8 are passed over.

    Every line of a text is checked to be a word and as many numbers; of those that no word takes,
    only whether they are made of the characters of numbers.

    Args:
      path: a file as the module describes.
      words: those to look for.
      features: numbers of a vector.
      normalize: writes a word as `words` are written.

    Raises:
      InputError: the file cannot be read, is damaged, or has vectors of another size; the message
        names the line.
    """
    words = frozenset(words)
    exact: dict[str, np.ndarray] = {}
    alike: dict[str, np.ndarray] = {}
    with _opened(path) as raw, _Watched(raw, path.stat().st_size) as watched:
        file = _unpacked(watched)
        kind = _kind(file, path, features)
        read = _read_binary if kind.binary else _read_text
        for place, letters, numbers in read(file, path, kind):
            try:
                word = letters.decode()
            except UnicodeDecodeError:
                continue
            found = exact
            if word not in words:
                found, word = alike, normalize(word)
            if word in words and word not in found:
                found[word] = _vector(numbers, path, place)
        return {**alike, **exact}, watched.sha256.hexdigest()


class _Kind(NamedTuple):
    """What the beginning of a file tells: words as the first line says, 0 where it does not."""

    words: int
    features: int
    binary: bool


def _kind(file: io.BufferedReader, path: Path, features: int) -> _Kind:
    """Returns what a file is, which is then at its first word."""
    head = file.peek()
    if head.startswith(codecs.BOM_UTF8):  # some editors put it there; it is no part of a word
        file.read(len(codecs.BOM_UTF8))
        head = file.peek()
    first, _, rest = head.partition(b"\n")
    fields = first.split()
    if not head:
        raise InputError(f"{path}: is empty; give a file of word vectors")
    if len(fields) == 2 and all(field.isdigit() for field in fields):
        words, width = map(int, fields)
        kind = _Kind(words, width, binary=not _CONTROL.isdisjoint(rest[:4096]))
        file.readline()
    elif not _CONTROL.isdisjoint(head[:4096]):
        raise InputError(
            f"{path}: is neither text nor binary of word2vec, which begins with a line of two "
            "counts; unpack it if it is an archive (zip, tar), or give another file"
        )
    else:
        numbers = itertools.takewhile(_is_number, reversed(fields[1:]))
        kind = _Kind(0, len(list(numbers)), binary=False)
        if not kind.features:
            raise InputError(
                f"{path}, line 1: {_shown(first)} is neither a word and its numbers nor two "
                "counts; give a file of word vectors"
            )
    if kind.features != features:
        raise InputError(
            f"config.model.embedding.features: given {features}, and {path} has vectors of "
            f"{kind.features} numbers; set config.model.embedding.features={kind.features}, or "
            "give another file"
        )
    return kind


def _read_text(
    file: io.BufferedReader, path: Path, kind: _Kind
) -> Iterator[tuple[str, bytes, list[bytes]]]:
    """Yields place, word and numbers of each line. Blank lines are passed over."""
    count = 0
    for number, line in enumerate(file, start=2 if kind.words else 1):
        place = f"line {number}"
        # From the right: words of GloVe may hold spaces.
        word, *numbers = line.rsplit(None, kind.features) or [b""]
        if not word:
            continue
        tail = line[len(word) :]
        *before, last = word.split()
        surplus = [last] if before and _is_number(last) else []
        if len(numbers) != kind.features or surplus:
            raise InputError(
                f"{path}, {place}: {_shown(line)} has {len(line.split()) - 1} numbers after the "
                f"word, expected {kind.features}; mend or delete the line, or fetch the file again"
            )
        if tail.translate(None, _OF_NUMBERS):
            wrong = next(each for each in numbers if each.translate(None, _OF_NUMBERS))
            raise _not_a_number(wrong, path, place)
        count += 1
        yield place, word, numbers
    if kind.words and count != kind.words:
        raise _wrong_count(path, kind, count)


def _read_binary(
    file: io.BufferedReader, path: Path, kind: _Kind
) -> Iterator[tuple[str, bytes, np.ndarray]]:
    """Yields place, word and numbers of each word."""
    size = 4 * kind.features
    for count in range(kind.words):
        letters = bytearray()
        while (letter := file.read(1)) not in (b" ", b""):
            letters += letter
        values = file.read(size)
        if len(values) < size:
            raise _wrong_count(path, kind, count)
        # word2vec ends each vector with a line break, other programs do not.
        yield f"word {count + 1}", bytes(letters).lstrip(b"\n"), np.frombuffer(values, "<f4")
    if any(rest.strip() for rest in iter(lambda: file.read(_CHUNK), b"")):
        raise InputError(
            f"{path}: goes on after the {kind.words} words that its first line announces; it is "
            "damaged: fetch it again"
        )


def _vector(numbers: list[bytes] | np.ndarray, path: Path, place: str) -> np.ndarray:
    if isinstance(numbers, list):
        values = np.array([float(each) if _is_number(each) else np.nan for each in numbers])
    else:
        values = numbers
    with np.errstate(over="ignore"):
        vector = values.astype(np.float32)
    if not np.isfinite(vector).all():
        raise _not_a_number(numbers[int(np.argmin(np.isfinite(vector)))], path, place)
    return vector


def _is_number(text: bytes) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return not text.translate(None, _OF_NUMBERS)  # Python reads 'nan' and '1_0' too


def _not_a_number(given: Any, path: Path, place: str) -> InputError:
    shown = _shown(given) if isinstance(given, bytes) else str(given)
    return InputError(
        f"{path}, {place}: {shown} is no finite float32 number; mend or delete the line, or fetch "
        "the file again"
    )


def _wrong_count(path: Path, kind: _Kind, count: int) -> InputError:
    return InputError(
        f"{path}: has {count} whole words, and its first line announces {kind.words}; it was cut "
        "short or changed: fetch it again"
    )


def _shown(text: bytes) -> str:
    shown = text.decode(errors="replace").strip()
    return repr(shown if len(shown) <= 60 else shown[:59] + "…")


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[io.FileIO]:
    """Opens a file, and says what is wrong with it in our words, also while it is read."""
    try:
        with io.FileIO(path) as file:
            yield file
    except FileNotFoundError:
        raise InputError(
            f"config.model.embedding.path: there is no file {path} (from the folder {Path.cwd()}); "
            "check the path"
        ) from None
    except IsADirectoryError:
        raise InputError(
            f"config.model.embedding.path: {path} is a folder; give the file in it"
        ) from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(
            f"{path}: is a damaged gzip file ({error}); fetch it again, or unpack it yourself"
        ) from None
    except OSError as error:
        raise InputError(
            f"config.model.embedding.path: {path} cannot be read ({error.strerror}); make it "
            "readable, or give another file"
        ) from None


class _Watched(io.RawIOBase):
    """A file that hashes what is read of it and shows how far that is."""

    def __init__(self, file: io.FileIO, size: int):
        self._file = file
        self._done = 0
        self._progress = Progress("word vectors, MB", -(-size // _MEGABYTE))
        self.sha256 = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = self._file.readinto(buffer)
        self.sha256.update(memoryview(buffer)[:count])
        self._done += count
        self._progress.update(-(-self._done // _MEGABYTE))
        return count

    def __exit__(self, *error: Any) -> None:
        self._progress.__exit__(*error)
        super().__exit__(*error)


def _unpacked(raw: io.RawIOBase) -> "io.BufferedReader[Any]":
    file = io.BufferedReader(raw, _CHUNK)
    if file.peek().startswith(_GZIP):
        return io.BufferedReader(gzip.GzipFile(fileobj=file), _CHUNK)
    return file
