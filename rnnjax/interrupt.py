"""Defers SIGINT, SIGTERM and SIGHUP to the end of the current training step."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


def is_ignored(number: int) -> bool:
    """Returns whether a signal is ignored, as SIGHUP is under `nohup`."""
    return signal.getsignal(number) is signal.SIG_IGN


class InterruptRequest:
    """Records the first SIGINT, SIGTERM or SIGHUP while the context is active.

    A second SIGINT or SIGTERM kills. A second SIGHUP is ignored: a terminal that is closed sends
    one by its shell and one by the system. Where SIGHUP is ignored from the start, it stays so.

    Attributes:
      signal: name of the recorded signal; '' before there is one.
    """

    def __init__(self):
        self.signal = ""
        self._handlers = {}

    def __enter__(self) -> "InterruptRequest":
        if threading.current_thread() is not threading.main_thread():
            return self  # Python handles signals in the main thread alone
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number != signal.SIGHUP or not is_ignored(number):
                self._handlers[number] = signal.signal(number, self._record)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _record(self, number: int, frame: FrameType | None) -> None:
        self.signal = signal.Signals(number).name
        signal.signal(number, signal.SIG_IGN if number == signal.SIGHUP else signal.SIG_DFL)


@contextlib.contextmanager
def deferred_signals() -> Iterator[None]:
    """Delivers SIGINT, SIGTERM and SIGHUP that arrive inside the block at its end.

    For calls of libraries that run an event loop: an exception raised by a handler in the middle of
    it ends as another error, or is printed and lost.
    """
    request = InterruptRequest()
    try:
        with request:
            yield
    finally:
        if request.signal:
            signal.raise_signal(signal.Signals[request.signal])


class InterruptedRunError(Exception):
    """A training was interrupted, and saved.

    Attributes:
      status: exit status for the process, 128 plus the number of the signal.
    """

    def __init__(self, name: str, step: int, total: int):
        """Takes the name of the signal and the steps done, of all."""
        super().__init__(f"{name} after step {step} of {total}: saved")
        self.status = 128 + signal.Signals[name].value
