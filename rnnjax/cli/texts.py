"""Texts for a command: its arguments, or the lines of standard input."""

import sys
from collections.abc import Iterator, Sequence

from rnnjax import input_files
from rnnjax.errors import InputError
from rnnjax.reporting.progress import write_message

_CHUNK = 1024
"""Texts that a command reads before it answers, where nobody types them."""


def read_lines() -> Iterator[str]:
    """Yields the lines of standard input.

    Raises:
      InputError: one is not UTF-8, or is longer than `rnnjax.input_files.MAX_LINE`.
    """
    for number, line in enumerate(input_files.lines(sys.stdin.buffer, "standard input"), start=1):
        try:
            # A byte order mark may stand at the start, and is no part of the text.
            yield line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise InputError(
                f"standard input, line {number}: is not UTF-8 ({error.reason} at byte "
                f"{error.start + 1}); convert it, with iconv say"
            ) from None


def read_chunks(arguments: Sequence[str]) -> Iterator[list[str]]:
    """Yields lists of texts: the arguments, or without any the lines of standard input.

    Lines that are typed come one by one.

    Raises:
      InputError: there is no text, or a line is not UTF-8; those before it have been yielded.
    """
    typed = sys.stdin.isatty()
    if not arguments and typed:
        write_message("reading texts from standard input, one a line")
    chunk, is_empty = [], True
    try:
        for text in arguments or read_lines():
            is_empty = False
            chunk.append(text)
            if len(chunk) == (1 if typed else _CHUNK):
                yield chunk
                chunk = []
    except InputError:
        if chunk:
            yield chunk
        raise
    if chunk:
        yield chunk
    if is_empty:
        raise InputError("no text on standard input; give texts there, one a line, or as arguments")
