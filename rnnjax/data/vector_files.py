"""Files of word vectors, as word2vec, GloVe and fastText write them, read as a stream.

Text has a word and its numbers on a line, separated by spaces or tabs, and with word2vec and
fastText a first line of two counts: words, and numbers of each. Binary of word2vec has that line
too, then for each word its letters, a space and float32 numbers, lowest byte first. Either may be
packed with gzip. The format is recognised by the first record, not by the name of the file.
"""

import codecs
import contextlib
import gzip
import hashlib
import io
import re
import zlib
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32

from rnnjax.errors import InputError
from rnnjax.files import explain, open_regular, unpack
from rnnjax.reporting.progress import Progress

_CHUNK = 2**20
_BEGINNING = 2**20
"""Bytes by which the format is recognised: those of the first line and record, and more."""
_MEGABYTE = 10**6
_LONGEST_WORD = 2**16
_LONGEST_NUMBER = 64
"""Limits, in bytes."""
_LARGEST = 1e9
"""No vector has a larger number. Bytes that were written as something else mostly have."""
_SMALLEST = float(np.finfo(np.float32).tiny)
"""No vector has a smaller number but zero."""
_REST_OF_WORD = re.compile(rb"([^\x00-\x1f\x7f]{4})*?[^\x00-\x1f\x7f]{3} ")
"""Matches a vector that begins with letters and a space, which as a number are about 1e-19."""
_GZIP = b"\x1f\x8b"
_CONTROL = {*range(9), *range(14, 32), 127}
_NOT_TEXT_NUMBERS = {*_CONTROL, *range(128, 256)}
"""A row of some dozens of float32 numbers is all but sure to have such a byte."""
_OF_NUMBERS = b"0123456789.+-eE \t\r\n"
_SEPARATORS = b" \t"
_FIELD = rb"[^ \t]+"


def check_beginning(path: Path, features: int) -> None:
    """Raises InputError if a file cannot be read, is none of vectors, or has them of another size.

    Only its beginning is read.
    """
    _read_kind(path, features)


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
    only whether they are made of the characters of numbers. Words of a text may hold spaces, but
    no numbers between them: such a line is two. Every record of a binary file is checked to end
    where the next one begins.

    Args:
      path: a regular file as the module describes.
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
    kind = _read_kind(path, features)
    with _opened(path) as raw, _Watched(raw, path.stat().st_size) as watched:
        file = _unpacked(watched, path)
        file.read(kind.start)
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
    """The format of a file: number of words if its first line has it, and where records start."""

    words: int | None
    features: int
    binary: bool
    start: int


def _read_kind(path: Path, features: int) -> _Kind:
    with _opened(path) as raw:
        return _kind(_unpacked(raw, path).read(_BEGINNING), path, features)


def _kind(head: bytes, path: Path, features: int) -> _Kind:
    """Returns the format of a file by its beginning."""
    # Some editors put a byte order mark there, which is no part of a word.
    start = len(codecs.BOM_UTF8) if head.startswith(codecs.BOM_UTF8) else 0
    first, _, rest = head[start:].partition(b"\n")
    fields = first.split()
    if not first and not rest:
        raise InputError(f"{path}: is empty; give a file of word vectors")
    if len(fields) == 2 and all(field.isdigit() and len(field) <= 15 for field in fields):
        words, width = map(int, fields)
        line = rest.lstrip(_SEPARATORS + b"\r\n").partition(b"\n")[0]
        values = rest.partition(b" ")[2][: 4 * width]
        binary = not _is_record(line, width) and not _NOT_TEXT_NUMBERS.isdisjoint(values)
        kind = _Kind(words, width, binary, start + len(first) + 1)
    else:
        width = features if _is_record(first, features) else _numbers_at_end(fields[1:])
        if not width and not _CONTROL.isdisjoint(head[:4096]):
            raise InputError(
                f"{path}: is neither text nor binary of word2vec, which begins with a line of two "
                "counts; unpack it if it is an archive (zip, tar), or give another file"
            )
        counts = re.match(rb"\d+ %d[^\d\s]\S* " % width, first)
        if not width or counts:
            raise InputError(
                f"{path}, line 1: {_shown(first)} is neither a word and its numbers nor two "
                "counts; give a file of word vectors, with a line break after the counts"
            )
        kind = _Kind(None, width, binary=False, start=start)
    if kind.features != features:
        raise InputError(
            f"config.model.embedding.features: given {features}, and {path} has vectors of "
            f"{kind.features} numbers; set config.model.embedding.features={kind.features}, or "
            "give another file"
        )
    return kind


def _split(line: bytes, features: int) -> tuple[bytes, list[bytes]]:
    """Returns the word of a line and its last fields, as many as there should be numbers.

    The word is exact: only spaces and tabs separate, and a word may itself be one of them.
    """
    line = line.rstrip(_SEPARATORS + b"\r\n")
    word, *numbers = line.rsplit(b" ", features)
    if len(numbers) < features or b"" in numbers or b"\t" in line[len(word) :]:
        spans = [field.span() for field in re.finditer(_FIELD, line)][-features:]
        word, numbers = line[: spans[0][0]] if spans else b"", [line[a:b] for a, b in spans]
        word = word[:-1]
    return word.rstrip(_SEPARATORS) or word, numbers


def _is_record(line: bytes, features: int) -> bool:
    word, numbers = _split(line, features)
    right = len(numbers) == features and all(map(_is_number, numbers))
    return bool(word) and right and not any(map(_is_number, word.split()[1:]))


def _numbers_at_end(fields: list[bytes]) -> int:
    """Returns how many of the last fields are numbers, without a gap."""
    numbers = [_is_number(field) for field in reversed(fields)]
    return [*numbers, False].index(False)


def _read_text(
    file: io.BufferedReader, path: Path, kind: _Kind
) -> Iterator[tuple[str, bytes, list[bytes]]]:
    """Yields place, word and numbers of each line. Blank lines are passed over."""
    count, number = 0, 0 if kind.words is None else 1
    limit = _LONGEST_WORD + _LONGEST_NUMBER * kind.features
    while line := file.readline(limit + 1):
        number += 1
        place = f"line {number}"
        if len(line) > limit:
            raise InputError(
                f"{path}, {place}: {_shown(line[:100])} goes on for more than {limit:,} bytes, too "
                f"long for a word and {kind.features} numbers; fetch the file again"
            )
        word, numbers = _split(line, kind.features)
        if not numbers:
            continue
        if not word or len(numbers) != kind.features:
            raise _wrong_line(path, place, line, kind)
        surplus = [_is_number(field) for field in word.split()[1:]]
        if any(surplus) and not surplus[-1]:
            raise InputError(
                f"{path}, {place}: {_shown(line)} has numbers before its last {kind.features}: two "
                "lines have run together; put a line break between them, or fetch the file again"
            )
        if any(surplus):
            raise _wrong_line(path, place, line, kind)
        if line[len(word) :].translate(None, _OF_NUMBERS):
            wrong = next(each for each in numbers if each.translate(None, _OF_NUMBERS))
            raise _not_a_number(wrong, path, place)
        count += 1
        yield place, word, numbers
    if kind.words is not None and count != kind.words:
        raise _wrong_count(path, kind, count)


def _wrong_line(path: Path, place: str, line: bytes, kind: _Kind) -> InputError:
    fields = re.findall(_FIELD, line.rstrip(b"\r\n"))
    return InputError(
        f"{path}, {place}: {_shown(line)} has {len(fields) - 1} numbers after the word, "
        f"expected {kind.features}; mend or delete the line, or fetch the file again"
    )


def _read_binary(
    file: io.BufferedReader, path: Path, kind: _Kind
) -> Iterator[tuple[str, bytes, np.ndarray]]:
    """Yields place, word and numbers of each word."""
    size, line_breaks = 4 * kind.features, False
    for count in range(kind.words or 0):
        place = f"word {count + 1}"
        letters = bytearray()
        while (letter := file.read(1)) not in (b" ", b"") and len(letters) <= _LONGEST_WORD:
            letters += letter
        values = file.read(size)
        if len(values) < size:
            raise _wrong_count(path, kind, count)
        word = bytes(letters)
        # word2vec ends each vector with a line break, other programs do not: the second word tells.
        if count == 1:
            line_breaks = word.startswith(b"\n")
        if count and line_breaks != word.startswith(b"\n"):
            raise _out_of_step(path, place, word)
        word = word.removeprefix(b"\n")
        if not _is_binary_word(word, line_breaks):
            raise _out_of_step(path, place, word)
        numbers = np.frombuffer(values, "<f4")
        magnitudes = np.abs(numbers)
        if not line_breaks and (
            _REST_OF_WORD.match(values) or ((magnitudes > 0) & (magnitudes < _SMALLEST)).any()
        ):
            raise _out_of_step(path, place, word)
        if not magnitudes.max() <= _LARGEST:
            if np.isfinite(numbers).all():
                raise _out_of_step(path, place, word)
            raise _not_a_number(numbers[int(np.argmin(np.isfinite(numbers)))], path, place)
        yield place, word, numbers
    if any(rest.strip() for rest in iter(lambda: file.read(_CHUNK), b"")):
        raise InputError(
            f"{path}: goes on after the {kind.words} words that its first line announces; it is "
            "damaged, or a word holds a space: fetch it again"
        )


def _is_binary_word(word: bytes, line_breaks: bool) -> bool:
    """Returns whether bytes before a space are a word, not the end of a vector and a word.

    Line breaks between the records show by themselves where one is out of step; without them the
    word has to be text, and `_read_binary` looks for the rest of a word in each vector.
    """
    if not word or len(word) > _LONGEST_WORD or b"\n" in word:
        return False
    if line_breaks:
        return True
    try:
        word.decode()
    except UnicodeDecodeError:
        return False
    return _CONTROL.isdisjoint(word)


def _out_of_step(path: Path, place: str, word: bytes) -> InputError:
    return InputError(
        f"{path}, {place}: {_shown(word)} and the numbers after it are no word and its vector; "
        "bytes are lost, or a word before it holds a space, which binary files cannot hold: fetch "
        "the file again, or save it as text"
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
    """Opens a regular file, and turns what goes wrong, also while it is read, into InputError."""
    try:
        with open_regular(path) as file:
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
            f"config.model.embedding.path: {path} cannot be read ({explain(error)[0]}); give "
            "another file"
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


def _unpacked(raw: io.RawIOBase, path: Path) -> "io.BufferedReader[Any]":
    file = io.BufferedReader(raw, _CHUNK)
    if file.peek().startswith(_GZIP):
        return unpack(file, path)
    return file
