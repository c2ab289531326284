"""Starting a command, and the exit status with which it ends."""

import gc
import importlib
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import NoReturn

from absl import logging

from rnnjax import console
from rnnjax.cli.commands import COMMANDS
from rnnjax.cli.parser import Parser
from rnnjax.cli.signals import exit_status, raise_on_termination
from rnnjax.errors import InputError
from rnnjax.reporting.progress import write_message

FAILED = 2
"""Exit status after an error that the user can mend."""
_GARBAGE_THRESHOLD = 50_000
"""New objects before a garbage collection. Importing and tracing make millions that stay, which
Python's default, a few hundred, visits again and again: .4 s of a command."""


def launch(name: str) -> NoReturn:
    """Runs a command of the table with the arguments of the process, and exits."""
    run_process(lambda: call_command(name, sys.argv[1:]))


def make_parser(name: str) -> Parser:
    """Makes the parser of a command of the table, with its flags."""
    module = importlib.import_module(COMMANDS[name])
    parser = Parser(f"rnnjax {name}", module.__doc__ or "", getattr(module, "POSITIONAL", ""))
    module.add_flags(parser)
    return parser


def call_command(name: str, arguments: Sequence[str]) -> int:
    """Runs a command of the table, and returns its exit status; errors are raised."""
    args = make_parser(name).parse(arguments)
    return importlib.import_module(COMMANDS[name]).main(args) or 0


def run_command(name: str, arguments: Sequence[str]) -> int:
    """Runs a command of the table, prints its errors, and returns its exit status."""
    return _report_errors(lambda: call_command(name, arguments))


def run_process(main: Callable[[], int | None]) -> NoReturn:
    """Runs the main function of a process, and exits with the status that it returns.

    An error that a user can mend is printed in a line or two, without a traceback, and ends with
    status 2; Ctrl-C ends with 130, SIGTERM with 143 and SIGHUP with 129. The standard streams are
    those of `console.standard_streams`.
    """
    gc.set_threshold(_GARBAGE_THRESHOLD)
    with console.standard_streams():
        raise_on_termination()
        status = _report_errors(main)
    sys.exit(status)


def _report_errors(main: Callable[[], int | None]) -> int:
    """Returns the exit status of a function, and prints the error that it raises."""
    try:
        # Libraries log details through absl, or errors that they then raise.
        logging.set_verbosity(logging.FATAL)
        return main() or 0
    except InputError as error:
        return report_error(error)
    except OSError as error:  # a full disk, a folder that may not be read
        return report_error(in_one_line(error))
    except KeyboardInterrupt as interruption:
        write_message("interrupted")
        return exit_status(interruption)
    except SystemExit as end:  # of --help
        return int(end.code or 0)


def report_error(error: object) -> int:
    """Prints an error, silences later output of libraries, and returns the status."""
    write_message(console.shorten(f"error: {error}"), is_error=True)
    sys.unraisablehook = lambda unraisable: None  # destructors of objects that are half made
    warnings.simplefilter("ignore")  # coroutines that were never awaited
    return FAILED


def in_one_line(error: Exception) -> str:
    """Returns the message of another library's error in one line, without its traceback."""
    message = str(error).strip() or type(error).__name__
    if "Traceback" in message:
        message = message.splitlines()[-1]
    return " ".join(message.split())
