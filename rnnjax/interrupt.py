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
    """A training was interrupted, and saved.

    Attributes:
      status: what the process should exit with, 128 plus the number of the signal.
    """

    def __init__(self, name: str, step: int, total: int):
        """Takes the name of the signal and the steps done, of all."""
        super().__init__(f"{name} after step {step} of {total}: saved")
        self.status = 128 + signal.Signals[name].value
