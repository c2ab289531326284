"""Ctrl-C, SIGTERM and SIGHUP as a wish that a loop grants at its next step."""

import signal
from types import FrameType


def is_ignored(number: int) -> bool:
    """Returns whether a signal is ignored, as SIGHUP is by what `nohup` starts."""
    return signal.getsignal(number) is signal.SIG_IGN


class InterruptRequest:
    """While it is entered, a first SIGINT, SIGTERM or SIGHUP is kept in `signal`.

    A second SIGINT or SIGTERM kills. A second SIGHUP is ignored: a terminal that is closed sends
    one by its shell and one by the system. Where SIGHUP is ignored from the start, it stays so.

    Attributes:
      signal: the name of the signal that came; '' while none has.
    """

    def __init__(self):
        self.signal = ""
        self._before = {}

    def __enter__(self) -> "InterruptRequest":
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number != signal.SIGHUP or not is_ignored(number):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal = signal.Signals(number).name
        signal.signal(number, signal.SIG_IGN if number == signal.SIGHUP else signal.SIG_DFL)


class InterruptedRunError(Exception):
    """A training was interrupted, and saved.

    Attributes:
      status: what the process should exit with, 128 plus the number of the signal.
    """

    def __init__(self, name: str, step: int, total: int):
        """Takes the name of the signal and the steps done, of all."""
        super().__init__(f"{name} after step {step} of {total}: saved")
        self.status = 128 + signal.Signals[name].value
