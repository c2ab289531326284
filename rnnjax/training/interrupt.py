"""Ctrl-C and SIGTERM as a wish that a loop grants at its next step."""

import signal
from types import FrameType


class InterruptRequest:
    """While it is entered, a first SIGINT or SIGTERM is kept in `signal`; a second one kills.

    Attributes:
      signal: the name of the signal that came; '' while none has.
    """

    def __init__(self):
        self.signal = ""
        self._before = {}

    def __enter__(self) -> "InterruptRequest":
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal = signal.Signals(number).name
        signal.signal(number, signal.SIG_DFL)


class InterruptedRunError(Exception):
    """A training was interrupted, and saved."""
