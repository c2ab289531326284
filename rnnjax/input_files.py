"""Reading of files that a user names: regular files only, within limits, refused in plain words.

`open_regular` and `load_text` raise OSError, whose `strerror` a message can quote; `read_text` and
`digest` raise InputError. `explain` turns any OSError into its cause and its remedy.
"""

import codecs
import contextlib
import errno
import gzip
import hashlib
import io
import json
import os
import re
import stat
import sys
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from rnnjax import encodings
from rnnjax.errors import InputError

MAX_BYTES = 4 * 2**30
"""Size limit of a file that is read into memory."""
MAX_LINE = 16 * 2**20
"""Size limit of a line or field, in bytes, where each is a text or a record of its own."""
MAX_RATIO = 100
"""Limit of unpacked by packed bytes; text has 3 to 10, a bomb up to 1,032."""
MIN_UNPACKED = 16 * 2**20
"""Unpacked bytes that are always allowed."""
MAX_NESTING = 64
"""Depth limit of JSON."""

_CHUNK = 2**20
_KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}
_CHECK = "check the path and the disk"
_REMEDIES = {
    errno.ENOSPC: "make room on the disk",
    errno.EDQUOT: "make room, or have the disk quota raised",
    errno.EFBIG: "raise the limit on the size of files (`ulimit -f`)",
    errno.EROFS: "use a folder on a file system that is not read-only",
    errno.EACCES: "change its permissions, or use another place",
    errno.EPERM: "change its permissions, or use another place",
    errno.EMFILE: "raise the limit on open files (`ulimit -n`)",
    errno.ENFILE: "close other programs, which have too many files open",
    errno.ENAMETOOLONG: "use a shorter name",
    errno.EIO: "check the disk, which failed",
    errno.ENOMEM: "free memory",
    errno.ENOENT: "check the path",
    errno.ENOTDIR: "check the path",
    errno.ELOOP: "check the path, whose symbolic links go round in a circle",
}


def explain(error: BaseException) -> tuple[str, str]:
    """Returns the cause of an error of the operating system, and its remedy.

    A library may have wrapped it, or may only quote it: array_record and TensorStore raise their
    own exceptions, with the words of the system in their messages.
    """
    if re.fullmatch(r"\d+ requested and \d+ written", str(error)):  # NumPy's, without a number
        return "only a part could be written", _REMEDIES[errno.ENOSPC]
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno:
            return cause.strerror or os.strerror(cause.errno), _REMEDIES.get(cause.errno, _CHECK)
        for number, remedy in _REMEDIES.items():
            if os.strerror(number) in str(cause):
                return os.strerror(number), remedy
        cause = cause.__cause__ or cause.__context__
    first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return first_line[:200], _CHECK


def open_regular(path: str | os.PathLike[str]) -> io.FileIO:
    """Opens a regular file for reading; pipes and devices are refused and never waited for.

    Raises:
      OSError: the file cannot be opened, or is not regular.
    """
    try:
        _check_regular(Path(path).stat())
        # Without O_NONBLOCK, opening what has become a pipe by now waits for its writer.
        number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except ValueError:
        raise OSError(errno.EINVAL, "no file can have such a name") from None
    file = io.FileIO(number)
    try:
        _check_regular(os.fstat(number))
    except OSError:
        file.close()
        raise
    return file


def load_text(path: str | os.PathLike[str], errors: str = "strict") -> str:
    """Returns the text of a UTF-8 file that rnnjax or its user wrote: JSON, TOML, Markdown.

    Args:
      path: a regular file of at most `MAX_BYTES`.
      errors: as for `bytes.decode`.

    Raises:
      OSError: the file cannot be read.
      UnicodeDecodeError: it is not UTF-8.
    """
    with open_regular(path) as file:
        return b"".join(_chunks(file, file)).decode(errors=errors)


def parse_json(text: str) -> Any:
    """Returns the value of a JSON text.

    Raises:
      ValueError: it is not JSON, is nested more than `MAX_NESTING` deep, or has an integer of
        thousands of digits.
    """
    too_deep = ValueError(f"it is nested more than {MAX_NESTING} deep")
    try:
        value = json.loads(text)
    except RecursionError:
        raise too_deep from None
    except json.JSONDecodeError:
        raise
    except ValueError:
        raise ValueError("it has a number of thousands of digits") from None
    level = [value]
    for _ in range(MAX_NESTING + 1):
        level = [
            item
            for node in level
            if isinstance(node, dict | list)
            for item in (node.values() if isinstance(node, dict) else node)
            if isinstance(item, dict | list)
        ]
        if not level:
            return value
    raise too_deep


def read_text(
    path: str | os.PathLike[str], *, packed: bool = False, max_line: int | None = None
) -> str:
    """Returns the text of a UTF-8 file, without a byte order mark.

    Args:
      path: a regular file of at most `MAX_BYTES`, unpacked.
      packed: whether it is packed with gzip.
      max_line: limit of a line, in bytes; None for none.

    Raises:
      InputError: the file cannot be read or unpacked, is not UTF-8 text, or breaks a limit.
    """
    pieces = [text for _, text in _decode_chunks(Path(path), packed, max_line, MAX_BYTES)]
    return "".join(pieces).removeprefix("\ufeff")


def read_utf8(path: str | os.PathLike[str], start: int = 0, line: int = 1) -> Iterator[bytes]:
    """Yields the bytes of a UTF-8 file of any size in chunks, each verified as text.

    Args:
      path: a regular file.
      start: byte to begin at, the first of a line.
      line: number of that line.

    Raises:
      InputError: the file cannot be read, or is not UTF-8 text.
    """
    chunks = _decode_chunks(Path(path), False, None, sys.maxsize, start, line)
    return (chunk for chunk, _ in chunks)


def _decode_chunks(
    path: Path,
    packed: bool,
    max_line: int | None,
    max_bytes: int,
    start: int = 0,
    line: int = 1,
) -> Iterator[tuple[bytes, str]]:
    """Yields each chunk of a text file from a byte on, with the text that it completes."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    width = 0
    with reading(path), open_regular(path) as file:
        file.seek(start)
        for chunk in _chunks(file, unpack(file, path) if packed else file, max_bytes):
            width = _check_line(path, line, width, chunk, max_line)
            try:
                text = decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as error:
                wrong, before = error.object[error.start], error.object[: error.start]
                raise _not_utf8(path, packed, line + before.count(b"\n"), wrong) from None
            if (nul := chunk.find(b"\0")) >= 0:
                raise _not_utf8(path, packed, line + chunk.count(b"\n", 0, nul), 0)
            line += text.count("\n")
            yield chunk, text


def digest(path: str | os.PathLike[str]) -> bytes:
    """Returns the SHA-256 of a regular file.

    Raises:
      InputError: the file cannot be read.
    """
    total = hashlib.sha256()
    with reading(Path(path)), open_regular(path) as file:
        for chunk in _chunks(file, file):
            total.update(chunk)
    return total.digest()


def lines(file: IO[bytes], name: object) -> Iterator[bytes]:
    """Yields the lines of a file, line ends included.

    Args:
      file: opened for reading.
      name: of the file, for messages.

    Raises:
      InputError: a line is longer than `MAX_LINE`.
    """
    number = 0
    while line := file.readline(MAX_LINE + 1):
        number += 1
        if len(line) > MAX_LINE:
            raise long_line(name, number, MAX_LINE)
        yield line


def unpack(file: IO[bytes] | io.RawIOBase, path: Path) -> "io.BufferedReader[Any]":
    """Returns the unpacked content of an open gzip file, as a stream with a limit.

    Raises:
      InputError: while it is read, if it unpacks to more than `MAX_RATIO` times its size and more
        than `MIN_UNPACKED`.
    """
    return io.BufferedReader(_Unpacked(file, path), _CHUNK)


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turns errors of opening, reading and unpacking a file into InputError."""
    try:
        yield
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file; check the path") from None
    except IsADirectoryError:
        raise InputError(f"{path}: this is a folder; give a file") from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(
            f"{path}: cannot be unpacked ({error}); the file is damaged or lost its end: fetch it "
            "again"
        ) from None
    except OSError as error:
        cause, remedy = explain(error)
        if error.errno in (None, errno.EINVAL):
            remedy = "give another file"
        raise InputError(f"{path}: cannot be read ({cause}); {remedy}") from None


def check_writable(folder: Path) -> None:
    """Raises OSError if a folder cannot be made, or if no file can be written in it.

    A nameless file is written in the folder, or in the one that it would be made in, and is gone
    when this returns.
    """
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    with tempfile.TemporaryFile(dir=place, buffering=0) as probe:
        probe.write(b"\0")


class _Unpacked(io.RawIOBase):
    """The content of a gzip file; reading stops where it has grown beyond measure."""

    def __init__(self, file: Any, path: Path):
        self._file = gzip.GzipFile(fileobj=file)
        self._path = path
        self._limit = max(MIN_UNPACKED, MAX_RATIO * path.stat().st_size)
        self._count = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = self._file.readinto(buffer)
        self._count += count
        if self._count > min(self._limit, MAX_BYTES):
            raise InputError(
                f"{self._path}: unpacks to more than {_megabytes(min(self._limit, MAX_BYTES))}, "
                f"expected at most {MAX_RATIO} times its size and {_megabytes(MAX_BYTES)}; if it "
                "is what it should be, unpack it yourself (`gunzip`)"
            )
        return count


def _check_regular(status: os.stat_result) -> None:
    kind = stat.S_IFMT(status.st_mode)
    if kind == stat.S_IFDIR:
        raise IsADirectoryError(errno.EISDIR, "Is a directory")
    if kind != stat.S_IFREG:
        raise OSError(
            errno.EINVAL,
            f"it is {_KINDS.get(kind, 'a special file')}, and only regular files are read: save "
            "the content in a file",
        )


def _chunks(
    file: io.FileIO, stream: IO[bytes] | io.RawIOBase, max_bytes: int | None = None
) -> Iterator[bytes]:
    """Yields the content of a stream over a file, an empty chunk as the last; checks its size."""
    size, chunk = os.fstat(file.fileno()).st_size, b"-"
    max_bytes = max_bytes or MAX_BYTES
    count = 0
    while chunk:
        if max(size, count) > max_bytes:
            raise OSError(
                errno.EINVAL,
                f"it has {_megabytes(max(size, count))}, and files of more than "
                f"{_megabytes(max_bytes)} are not read into memory",
            )
        chunk = stream.read(_CHUNK) or b""
        count += len(chunk)
        yield chunk


def _check_line(path: Path, line: int, width: int, chunk: bytes, max_line: int | None) -> int:
    """Returns the width of the line at the end of a chunk, given that at its start."""
    first = chunk.find(b"\n")
    longest = width + (len(chunk) if first < 0 else first)
    if max_line is not None and longest > max_line:
        raise long_line(path, line, max_line)
    return longest if first < 0 else len(chunk) - chunk.rfind(b"\n") - 1


def long_line(name: object, line: int, limit: int) -> InputError:
    """Returns the refusal of a line that is longer than a limit."""
    return InputError(
        f"{name}, line {line}: is longer than {limit:,} bytes, the limit of a line; break it into "
        "lines, or give another file"
    )


def _megabytes(size: int) -> str:
    return f"{size / 2**20:,.0f} MiB"


def _not_utf8(path: Path, packed: bool, line: int, wrong: int) -> InputError:
    """Returns the refusal of a file whose text is not UTF-8, with its likely encoding."""
    with open_regular(path) as file:
        stream = unpack(file, path) if packed else file
        sample = stream.read(MIN_UNPACKED)
    byte = "a NUL character" if not wrong else f"byte 0x{wrong:02x} is not UTF-8 text"
    return InputError(f"{path}, line {line}: {byte}{encodings.advice(path, sample)}")
