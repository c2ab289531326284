"""Streaming reader of word vector files: word2vec, GloVe and fastText.

A text file has a word and its numbers on a line, separated by spaces or tabs, and with word2vec and
fastText a header line of two counts: words, and numbers of each. A binary file of word2vec has that
line too, then for each word its letters, a space and little-endian float32 numbers. Either may be
packed with gzip. The format is detected from the first record, not from the name of the file.
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
from rnnjax.input_files import explain, open_regular, unpack
from rnnjax.reporting.progress import Progress

_CHUNK = 2**20
_HEAD = 2**20
"""Bytes from which the format is detected: those of the first line and record, and more."""
_MEGABYTE = 10**6
_MAX_WORD = 2**16
_MAX_NUMBER = 64
"""Limits, in bytes."""
_MAX_MAGNITUDE = 1e9
"""Limit of the numbers of a vector. Bytes of any other meaning mostly exceed it."""
_MIN_MAGNITUDE = float(np.finfo(np.float32).tiny)
"""Least magnitude of the numbers of a vector but zero."""
_REST_OF_WORD = re.compile(rb"([^\x00-\x1f\x7f]{4})*?[^\x00-\x1f\x7f]{3} ")
"""Matches a vector that begins with letters and a space, which as a number are about 1e-19."""
_GZIP = b"\x1f\x8b"
_CONTROL = {*range(9), *range(14, 32), 127}
_NOT_TEXT_NUMBERS = {*_CONTROL, *range(128, 256)}
"""A row of some dozens of float32 numbers is all but sure to have such a byte."""
_NUMBER_BYTES = b"0123456789.+-eE \t\r\n"
_SEPARATORS = b" \t"
_FIELD = rb"[^ \t]+"


def check_vector_format(path: Path, features: int) -> None:
    """Raises InputError if a file is unreadable, has no vectors or vectors of another size.

    Only the head of the file is read.
    """
    _read_header(path, features)


def read_vectors(
    path: Path,
    words: Collection[str],
    features: int,
    normalize: Callable[[str], str] = str,
) -> tuple[dict[str, Float32[np.ndarray, " features"]], str]:
    """Reads the vectors of some words, and the SHA-256 of the file.

    The file is streamed: memory holds the vectors of these words alone. A word that is not in the
    file gets the vector of the first one that equals it when normalized: 'us' that of 'U.S.' if
    the file has no 'us'. Of duplicates the first counts. Words that are not UTF-8 are skipped.

    Every line of a text is checked to be a word and as many numbers; the numbers of other words
    only for the characters of numbers. Words of a text may hold spaces, but no numbers between
    them: such a line is two. Every record of a binary file is checked to end where the next one
    begins.

    Args:
      path: a regular file as the module describes.
      words: the words to read.
      features: numbers of a vector.
      normalize: maps a word of the file to the form of `words`.

    Raises:
      InputError: the file cannot be read, is damaged, or has vectors of another size; the message
        names the line.
    """
    words = frozenset(words)
    exact: dict[str, np.ndarray] = {}
    normalized: dict[str, np.ndarray] = {}
    header = _read_header(path, features)
    with _open(path) as raw, _HashingReader(raw, path.stat().st_size) as reader:
        file = _decompress(reader, path)
        file.read(header.start)
        read = _read_binary if header.binary else _read_text
        for record, letters, numbers in read(file, path, header):
            try:
                word = letters.decode()
            except UnicodeDecodeError:
                continue
            vectors = exact
            if word not in words:
                vectors, word = normalized, normalize(word)
            if word in words and word not in vectors:
                vectors[word] = _to_vector(numbers, path, record)
        return {**normalized, **exact}, reader.sha256.hexdigest()


class _Header(NamedTuple):
    """Format of a file; `words` is None without a first line of counts, `start` a byte offset."""

    words: int | None
    features: int
    binary: bool
    start: int


def _read_header(path: Path, features: int) -> _Header:
    with _open(path) as raw, _decompress(raw, path) as file:
        return _parse_header(file.read(_HEAD), path, features)


def _parse_header(head: bytes, path: Path, features: int) -> _Header:
    """Detects the format of a file from its first bytes."""
    # Some editors begin a file with a byte order mark, which is no part of a word.
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
        header = _Header(words, width, binary, start + len(first) + 1)
    else:
        width = features if _is_record(first, features) else _count_trailing_numbers(fields[1:])
        if not width and not _CONTROL.isdisjoint(head[:4096]):
            raise InputError(
                f"{path}: is neither text nor binary of word2vec, which begins with a line of two "
                "counts; unpack it if it is an archive (zip, tar), or give another file"
            )
        counts = re.match(rb"\d+ %d[^\d\s]\S* " % width, first)
        if not width or counts:
            raise InputError(
                f"{path}, line 1: {_quote(first)} is neither a word and its numbers nor two "
                "counts; give a file of word vectors, with a line break after the counts"
            )
        header = _Header(None, width, binary=False, start=start)
    if header.features != features:
        raise InputError(
            f"config.model.embedding.features: given {features}, and {path} has vectors of "
            f"{header.features} numbers; set config.model.embedding.features={header.features}, or "
            "give another file"
        )
    return header


def _split(line: bytes, features: int) -> tuple[bytes, list[bytes]]:
    """Splits a line into its word and its last fields, as many as a vector has numbers.

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
    complete = len(numbers) == features and all(map(_is_number, numbers))
    return bool(word) and complete and not any(map(_is_number, word.split()[1:]))


def _count_trailing_numbers(fields: list[bytes]) -> int:
    """Counts the numbers at the end of the fields."""
    numbers = [_is_number(field) for field in reversed(fields)]
    return [*numbers, False].index(False)


def _read_text(
    file: io.BufferedReader, path: Path, header: _Header
) -> Iterator[tuple[str, bytes, list[bytes]]]:
    """Yields record, word and numbers of each line; blank lines are skipped."""
    count, number = 0, 0 if header.words is None else 1
    limit = _MAX_WORD + _MAX_NUMBER * header.features
    while line := file.readline(limit + 1):
        number += 1
        record = f"line {number}"
        if len(line) > limit:
            raise InputError(
                f"{path}, {record}: {_quote(line[:100])} goes on for more than {limit:,} bytes, "
                f"too long for a word and {header.features} numbers; fetch the file again"
            )
        word, numbers = _split(line, header.features)
        if not numbers:
            continue
        if not word or len(numbers) != header.features:
            raise _wrong_line(path, record, line, header)
        surplus = [_is_number(field) for field in word.split()[1:]]
        if any(surplus) and not surplus[-1]:
            raise InputError(
                f"{path}, {record}: {_quote(line)} has numbers before its last {header.features}: "
                "two lines have run together; put a line break between them, or fetch the file "
                "again"
            )
        if any(surplus):
            raise _wrong_line(path, record, line, header)
        if line[len(word) :].translate(None, _NUMBER_BYTES):
            wrong = next(field for field in numbers if field.translate(None, _NUMBER_BYTES))
            raise _not_a_number(wrong, path, record)
        count += 1
        yield record, word, numbers
    if header.words is not None and count != header.words:
        raise _wrong_count(path, header, count)


def _wrong_line(path: Path, record: str, line: bytes, header: _Header) -> InputError:
    fields = re.findall(_FIELD, line.rstrip(b"\r\n"))
    return InputError(
        f"{path}, {record}: {_quote(line)} has {len(fields) - 1} numbers after the word, "
        f"expected {header.features}; mend or delete the line, or fetch the file again"
    )


def _read_binary(
    file: io.BufferedReader, path: Path, header: _Header
) -> Iterator[tuple[str, bytes, np.ndarray]]:
    """Yields record, word and numbers of each word."""
    size, line_breaks = 4 * header.features, False
    for count in range(header.words or 0):
        record = f"word {count + 1}"
        letters = bytearray()
        while (letter := file.read(1)) not in (b" ", b"") and len(letters) <= _MAX_WORD:
            letters += letter
        values = file.read(size)
        if len(values) < size:
            raise _wrong_count(path, header, count)
        word = bytes(letters)
        # word2vec ends each vector with a line break, other programs do not: the second word tells.
        if count == 1:
            line_breaks = word.startswith(b"\n")
        if count and line_breaks != word.startswith(b"\n"):
            raise _misaligned(path, record, word)
        word = word.removeprefix(b"\n")
        if not _is_binary_word(word, line_breaks):
            raise _misaligned(path, record, word)
        numbers = np.frombuffer(values, "<f4")
        magnitudes = np.abs(numbers)
        if not line_breaks and (
            _REST_OF_WORD.match(values) or ((magnitudes > 0) & (magnitudes < _MIN_MAGNITUDE)).any()
        ):
            raise _misaligned(path, record, word)
        if not magnitudes.max() <= _MAX_MAGNITUDE:
            if np.isfinite(numbers).all():
                raise _misaligned(path, record, word)
            raise _not_a_number(numbers[int(np.argmin(np.isfinite(numbers)))], path, record)
        yield record, word, numbers
    if any(rest.strip() for rest in iter(lambda: file.read(_CHUNK), b"")):
        raise InputError(
            f"{path}: goes on after the {header.words} words that its first line announces; it is "
            "damaged, or a word holds a space: fetch it again"
        )


def _is_binary_word(word: bytes, line_breaks: bool) -> bool:
    """Returns whether bytes before a space are a word, not the end of a vector and a word.

    With line breaks between the records, `_read_binary` sees whether one is misaligned; without
    them the word has to be text, and it looks for the rest of a word in each vector.
    """
    if not word or len(word) > _MAX_WORD or b"\n" in word:
        return False
    if line_breaks:
        return True
    try:
        word.decode()
    except UnicodeDecodeError:
        return False
    return _CONTROL.isdisjoint(word)


def _misaligned(path: Path, record: str, word: bytes) -> InputError:
    return InputError(
        f"{path}, {record}: {_quote(word)} and the numbers after it are no word and its vector; "
        "bytes are lost, or a word before it holds a space, which binary files cannot hold: fetch "
        "the file again, or save it as text"
    )


def _to_vector(numbers: list[bytes] | np.ndarray, path: Path, record: str) -> np.ndarray:
    if isinstance(numbers, list):
        values = np.array([float(field) if _is_number(field) else np.nan for field in numbers])
    else:
        values = numbers
    with np.errstate(over="ignore"):
        vector = values.astype(np.float32)
    if not np.isfinite(vector).all():
        raise _not_a_number(numbers[int(np.argmin(np.isfinite(vector)))], path, record)
    return vector


def _is_number(text: bytes) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return not text.translate(None, _NUMBER_BYTES)  # Python reads 'nan' and '1_0' too


def _not_a_number(value: Any, path: Path, record: str) -> InputError:
    text = _quote(value) if isinstance(value, bytes) else str(value)
    return InputError(
        f"{path}, {record}: {text} is no finite float32 number; mend or delete the line, or fetch "
        "the file again"
    )


def _wrong_count(path: Path, header: _Header, count: int) -> InputError:
    return InputError(
        f"{path}: has {count} whole words, and its first line announces {header.words}; it was cut "
        "short or changed: fetch it again"
    )


def _quote(text: bytes) -> str:
    decoded = text.decode(errors="replace").strip()
    return repr(decoded if len(decoded) <= 60 else decoded[:59] + "…")


@contextlib.contextmanager
def _open(path: Path) -> Iterator[io.FileIO]:
    """Opens a regular file; errors of opening and of reading become InputError."""
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


class _HashingReader(io.RawIOBase):
    """File that hashes the bytes read from it and reports progress."""

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


def _decompress(raw: io.RawIOBase, path: Path) -> "io.BufferedReader[Any]":
    file = io.BufferedReader(raw, _CHUNK)
    if file.peek().startswith(_GZIP):
        return unpack(file, path)
    return file
