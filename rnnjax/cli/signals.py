"""Signals as exceptions: SIGTERM and SIGHUP clean up as Ctrl-C does."""

import os
import signal
import sys
import threading
from typing import Any, NoReturn

from rnnjax.interrupt import is_ignored

_SECONDS_UNTIL_REPEATED = 0.01


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP was received.

    Attributes:
      status: exit status of the process, 128 plus the number of the signal.
    """

    def __init__(self, number: int):
        """Takes the number of the signal."""
        super().__init__()
        self.status = 128 + number


def exit_status(interruption: BaseException) -> int:
    """Returns the exit status of an interrupted process: 128 plus the number of the signal."""
    return getattr(interruption, "status", 128 + signal.SIGINT)


def raise_on_termination() -> None:
    """Installs handlers by which SIGTERM and SIGHUP raise `Terminated`."""
    signal.signal(signal.SIGTERM, _terminate)
    if not is_ignored(signal.SIGHUP):
        signal.signal(signal.SIGHUP, _terminate)
    sys.unraisablehook = _repeat_signal


def _terminate(number: int, _: object) -> NoReturn:
    if number == signal.SIGHUP:  # a terminal that is closed sends a second one
        signal.signal(number, signal.SIG_IGN)
    raise Terminated(number)


def _repeat_signal(unraisable: Any) -> None:
    """Sends a signal once more whose exception was raised where none can propagate.

    The garbage collector calls JAX back, and an exception there is printed and dropped: a signal
    that comes during a long call of a library often meets that.
    """
    if isinstance(unraisable.exc_value, KeyboardInterrupt):
        number = exit_status(unraisable.exc_value) - 128
        if number == signal.SIGHUP:
            signal.signal(number, _terminate)
        threading.Timer(_SECONDS_UNTIL_REPEATED, os.kill, [os.getpid(), number]).start()
    else:
        sys.__unraisablehook__(unraisable)
