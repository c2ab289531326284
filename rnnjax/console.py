"""Standard streams of a command line: closed, full, broken or of any encoding."""

import codecs
import contextlib
import errno
import io
import json
import os
import select
import signal
import sys
from collections.abc import Iterator
from typing import Any, TextIO

_CLOSED_PIPE = 128 + signal.SIGPIPE
_FAILED = 2
_LONGEST_LINE = 1_000


class OutputError(Exception):
    """Standard output cannot be written.

    Attributes:
      status: exit status for the process: 2, or 141 where the reader of a pipe has gone, as
        for a program that SIGPIPE ends.
    """

    def __init__(self, error: OSError):
        """Takes the error of the system."""
        super().__init__(
            f"standard output could not be written ({error.strerror}); send it to another place"
        )
        self.status = _CLOSED_PIPE if error.errno == errno.EPIPE else _FAILED


def escape(text: str) -> str:
    r"""Escapes the characters that a terminal obeys instead of showing them, as JSON does (\u001b).

    These are the control characters but for newline and tab, those that change the direction of
    the text, and the separators of lines. JSON that is escaped so is still the same JSON.
    """
    return text.translate(_ESCAPES)


def shorten(text: str) -> str:
    """Cuts the middle out of overlong lines, such as messages that quote user input."""
    return "\n".join(
        line if len(line) <= _LONGEST_LINE else f"{line[:400]} […] {line[-400:]}"
        for line in text.split("\n")
    )


def write_output(text: str, end: str = "\n") -> None:
    """Writes a text to standard output, escaped, and flushes it.

    Raises:
      OutputError: it cannot be written, now or before.
    """
    _write(sys.stdout, escape(text) + end)
    if error := _output_error():
        raise OutputError(error)


def write_error(text: str) -> None:
    """Writes to standard error as it is, and raises nothing: losing a message ends no work."""
    with contextlib.suppress(OSError, ValueError):  # ValueError: of a closed file
        _write(sys.stderr, text)


@contextlib.contextmanager
def standard_streams() -> Iterator[None]:
    """Opens the standard streams for a command line, and exits if its output was lost.

    A closed descriptor is opened on the null device, so that no file of ours takes its number. No
    print raises, neither here nor in a library: unwritable output is dropped, and unencodable
    characters are escaped as in JSON.

    A reader of standard output that leaves before the end (`| head`) is no failure here;
    `write_output` raises, and the process then exits silently with 141.

    Raises:
      SystemExit: standard output could not be written.
    """
    _open_closed_descriptors()
    sys.stdin = sys.stdin or open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = _lasting(1, sys.stdout, sys.__stdout__)
    sys.stderr = _lasting(2, sys.stderr, sys.__stderr__)
    try:
        try:
            yield
        except SystemExit as end:
            if end.code:
                raise
        sys.stdout.flush()
        error = _output_error()
        if error and error.errno != errno.EPIPE:
            raise OutputError(error)
    except OutputError as error:
        if error.status != _CLOSED_PIPE:
            write_error(f"error: {error}\n")
        sys.exit(error.status)


class _Descriptor(io.FileIO):
    """A descriptor whose writes never fail: unwritable data are dropped.

    Attributes:
      error: the first one of a write; None while there was none.
    """

    def __init__(self, number: int):
        super().__init__(number, "w", closefd=False)
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        try:
            while (count := super().write(data)) is None:  # it is full, and set not to wait
                select.select([], [self], [])
            return count
        except OSError as error:
            self.error = self.error or error
            return memoryview(data).nbytes


class _LastingStream(io.TextIOWrapper):
    """A text stream on a standard descriptor, whose writes never raise."""

    def __init__(self, number: int, encoding: str, line_buffering: bool):
        self.descriptor = _Descriptor(number)
        super().__init__(
            io.BufferedWriter(self.descriptor),
            encoding,
            errors=_AS_JSON,
            line_buffering=line_buffering,
        )


def _lasting(number: int, stream: TextIO | None, original: TextIO | None) -> TextIO:
    """Returns a stream that lasts, or the one that a program has put in the place of Python's."""
    if stream is None:
        return _LastingStream(number, "utf-8", True)
    if stream is not original or not isinstance(stream, io.TextIOWrapper):
        return stream
    with contextlib.suppress(OSError):
        stream.flush()
    return _LastingStream(number, stream.encoding, stream.line_buffering or stream.write_through)


def _open_closed_descriptors() -> None:
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(number, True)
    os.close(number)


def _output_error() -> OSError | None:
    return sys.stdout.descriptor.error if isinstance(sys.stdout, _LastingStream) else None


def _write(stream: TextIO | None, text: str) -> None:
    if stream is None:
        return
    # A stream that a program has replaced may refuse characters that it cannot encode.
    encoding = stream.encoding or "utf-8"
    stream.write(text.encode(encoding, _AS_JSON).decode(encoding))
    stream.flush()


def _escape_unencodable(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return _as_json(error.object[error.start : error.end]), error.end


def _as_json(text: str) -> str:
    return json.dumps(text)[1:-1]


_ESCAPES = {
    code: _as_json(chr(code))
    for code in (
        *(code for code in range(0x20) if chr(code) not in "\n\t"),
        *range(0x7F, 0xA0),
        *(0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)),
        *(0x2028, 0x2029),
    )
}
_AS_JSON = "rnnjax.as_json"
codecs.register_error(_AS_JSON, _escape_unencodable)
