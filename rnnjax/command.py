"""What the command lines share: how they begin, and how they end when something is wrong."""

import itertools
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from absl import app, flags, logging

from rnnjax import console, input_files, paths
from rnnjax.errors import InputError
from rnnjax.interrupt import is_ignored
from rnnjax.reporting.progress import write_message

flags.disclaim_key_flags()  # --help lists a flag that is defined here with those of the command

FAILED = 2

_AT_ONCE = 1024
"""Texts that are answered together."""

_UNTIL_REPEATED = 0.01
"""Seconds."""


class _PathParser(flags.ArgumentParser[str]):
    syntactic_help = "a path"

    def parse(self, argument: str) -> str:
        return paths.expand(argument)


def define_path(name: str, default: str, help: str) -> flags.FlagHolder[str]:
    """Defines a flag whose value is a path, in which `~` is the home folder."""
    return flags.DEFINE(_PathParser(), name, default, help, serializer=flags.ArgumentSerializer())


def define_trust() -> flags.FlagHolder[bool]:
    """Defines the flag by which a command may run the code that a run's folder names."""
    return flags.DEFINE_bool(
        "trust", False, "Import the module of the run's cell, if it is not of rnnjax or flax."
    )


def run(
    main: Callable[[list[str]], None],
    required: Sequence[str] = (),
    check: Callable[[str], None] = lambda flag: None,
) -> None:
    """Parses the flags, runs `main` with what is left of the command line, and exits.

    What a user can mend is printed in a line or two, without a traceback, and ends with status 2;
    Ctrl-C ends with 130 where nothing else is said, SIGTERM with 143 and SIGHUP with 129. The
    standard streams are those of `console.standard_streams`.

    Args:
      main: does the work.
      required: names of the flags that must be given.
      check: raises InputError if no flag may have the name that it is given.
    """

    def parse(arguments: Sequence[str]) -> list[str]:
        try:
            for argument in arguments[1:]:
                if argument == "--":
                    break
                if argument.startswith("-"):
                    check(argument.lstrip("-").split("=")[0])
            arguments = _expanded(arguments)
            _check_config_file(arguments[1:])
            rest = flags.FLAGS(arguments)
        except InputError as error:
            _fail(error)
        except flags.Error as error:
            _fail(in_short(error))
        except Exception as error:  # raised in a config file, or by ml_collections that reads it
            _fail(
                "the config cannot be made; expected a Python file with a get_config() that "
                "returns a ConfigDict, configs/bilstm.py say, and values of the types it has. It "
                f"said: {type(error).__name__}: {in_short(error)}"
            )
        # A config of no keys is false, and given all the same.
        asked = {name: flags.FLAGS[name] for name in required}
        _check_switches(arguments[1:])
        missing = [name for name, flag in asked.items() if not flag.present or flag.value == ""]
        if missing:
            _fail(f"--{missing[0]} is missing; --help shows what to give")
        return rest

    def guarded(arguments: list[str]) -> None:
        # Libraries log through absl what is of no use to the user, or what they then raise.
        logging.set_verbosity(logging.FATAL)
        try:
            main(arguments[1:])
        except InputError as error:
            _fail(error)
        except OSError as error:  # a full disk, a folder that may not be read
            _fail(in_short(error))

    with console.standard_streams():
        signal.signal(signal.SIGTERM, _terminate)
        if not is_ignored(signal.SIGHUP):
            signal.signal(signal.SIGHUP, _terminate)
        sys.unraisablehook = _repeat
        try:
            app.run(guarded, flags_parser=parse)
        except KeyboardInterrupt as interruption:
            write_message("interrupted")
            sys.exit(status(interruption))


def _check_config_file(arguments: Sequence[str]) -> None:
    """Raises InputError if the file of --config is not regular: of a pipe, Python would wait."""
    for flag, value in itertools.pairwise([*arguments, ""]):
        name, _, attached = flag.lstrip("-").partition("=")
        path = Path((attached or value).split(":")[0])
        if flag.startswith("-") and name == "config" and path.exists():
            with input_files.reading(path):
                input_files.open_regular(path).close()


def _check_switches(arguments: Sequence[str]) -> None:
    """Ends the program if the value of a boolean flag stands apart, where absl takes it for text.

    Of `--config.model.mask False` absl makes mask=True and an argument 'False'.
    """
    for flag, value in itertools.pairwise(
        itertools.takewhile(lambda each: each != "--", arguments)
    ):
        name = flag.lstrip("-")
        switch = flag.startswith("-") and name in flags.FLAGS and flags.FLAGS[name].boolean
        if switch and value.lower() in ("true", "false"):
            _fail(
                f"{flag} {value}: the value of a switch is written with =, not after a space; "
                f"write {flag}={value}"
            )


def lines() -> Iterator[str]:
    """Yields the lines of standard input, which are texts.

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


def texts(given: Sequence[str]) -> Iterator[list[str]]:
    """Yields texts to be answered together.

    They are those given, or without any the lines of standard input: each by itself where they are
    typed.

    Raises:
      InputError: there is no text, or a line is not UTF-8; those before it have been yielded.
    """
    typed = sys.stdin.isatty()
    if not given and typed:
        write_message("reading texts from standard input, one a line")
    chunk, is_empty = [], True
    try:
        for text in given or lines():
            is_empty = False
            chunk.append(text)
            if len(chunk) == (1 if typed else _AT_ONCE):
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


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP came: what Ctrl-C cleans up is cleaned up too.

    Attributes:
      status: what the process should exit with, 128 plus the number of the signal.
    """

    def __init__(self, number: int):
        """Takes the number of the signal."""
        super().__init__()
        self.status = 128 + number


def status(interruption: BaseException) -> int:
    """Returns what the process should exit with: 128 and the number of the signal."""
    return getattr(interruption, "status", 128 + signal.SIGINT)


def _terminate(number: int, _: object) -> NoReturn:
    if number == signal.SIGHUP:  # a terminal that is closed sends a second one
        signal.signal(number, signal.SIG_IGN)
    raise Terminated(number)


def _repeat(unraisable: Any) -> None:
    """Sends a signal once more whose exception came where none gets through.

    The garbage collector calls JAX back, and what is raised there is printed and forgotten: a
    signal that comes while a library is at work for long often is.
    """
    if isinstance(unraisable.exc_value, KeyboardInterrupt):
        number = status(unraisable.exc_value) - 128
        if number == signal.SIGHUP:
            signal.signal(number, _terminate)
        threading.Timer(_UNTIL_REPEATED, os.kill, [os.getpid(), number]).start()
    else:
        sys.__unraisablehook__(unraisable)


def in_short(error: Exception) -> str:
    """Returns the message of another library's error in one line, without its traceback."""
    message = str(error).strip() or type(error).__name__
    if "Traceback" in message:
        message = message.splitlines()[-1]
    return " ".join(message.split())


def _expanded(arguments: Sequence[str]) -> list[str]:
    """Returns a command line with `~` replaced in the path of --config.

    ml_collections reads that file while the flags are parsed.
    """
    expanded = list(arguments)
    for index, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        try:
            if name == "--config" and equals:
                expanded[index] = f"{name}={paths.expand(value)}"
            elif name == "--config":
                expanded[index + 1 :] = map(paths.expand, arguments[index + 1 : index + 2])
                expanded += arguments[index + 2 :]
        except InputError as error:
            raise InputError(f"--config: {error}") from None
    return expanded


def _fail(error: object) -> NoReturn:
    """Prints an error and exits; what a failing library leaves behind is discarded silently."""
    write_message(console.shorten(f"error: {error}"))
    sys.unraisablehook = lambda unraisable: None  # of destructors of objects that are half made
    warnings.simplefilter("ignore")  # of coroutines that were never awaited
    sys.exit(FAILED)
