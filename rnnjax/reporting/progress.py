"""What a long loop shows: a bar on a terminal, now and then a plain line elsewhere."""

import collections
import contextlib
import os
import shutil
import sys
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Any

from rnnjax.console import escape, write_error

_SECONDS_BETWEEN_LINES = 10.0
_SECONDS_BEFORE_LINES = 3.0
_SECONDS_BETWEEN_DRAWINGS = 0.1

_SECONDS_BEFORE_ESTIMATES = 1.0
_MARKS = 100
"""Moments at which is noted how far a loop is, of the time that it has taken."""

_SHORTEST_BAR = 10
_IMPORTANCE = ("left", "loss", "bar", "count", "accuracy", "speed")
"""What a line shows, what a narrow terminal shows of it first."""

_uncounted_seconds = 0.0
"""Of this process, in which no loop measures its speed."""


class Progress:
    """Shows how far a loop has come, how well and how fast, on the standard error stream.

        with Progress("train", total_steps, initial=step) as progress:
            for step in range(step + 1, total_steps + 1):
                ...
                progress.update(step, examples=n, loss=loss, accuracy=accuracy)

    Where the stream is not a terminal there is at most one line in ten seconds, and one for the
    last update; none if all is over in three seconds. On a terminal the line is as wide as that,
    and what finds no room is left out.

    Speed and time left are estimated from the later half of the time that was taken, so that a
    slow beginning is forgotten. The first update is no part of them, nor is any `uncounted` time:
    a loop compiles in it.
    """

    def __init__(self, name: str, total_steps: int, initial: int = 0, unit: str = "examples"):
        """Starts the clock.

        Args:
          name: what the loop does.
          total_steps: where it ends.
          initial: the steps that an earlier process has done; no part of the speed.
          unit: plural of what `update` counts as examples.
        """
        self._name = name
        self._total = total_steps
        self._unit = unit
        self._step = initial
        self._examples = 0
        self._metrics: dict[str, Any] = {}
        self._start = time.monotonic()
        # Seconds counted, steps and examples. The estimates are made from the first of them.
        self._marks: collections.deque[tuple[float, int, int]] = collections.deque()
        self._first = self._last = 0.0
        self._shown_at: float | None = None
        self._shown_step = initial
        self._bar = _Bar() if _is_terminal() else None
        if self._bar is not None:
            self._bar.draw(self._drawn(last=False))

    def update(self, step: int, examples: int = 0, loss: Any = None, accuracy: Any = None) -> None:
        """Tells how far the loop is.

        Args:
          step: steps done, those of an earlier process included.
          examples: done since the last update.
          loss: a number, or a device array that becomes one. It is fetched only when it is shown,
            so that a loop does not wait for the device at every step. Without it the one before
            stays on show.
          accuracy: as `loss`.
        """
        self._step = step
        self._mark(examples)
        for name, value in (("loss", loss), ("accuracy", accuracy)):
            if value is not None:
                self._metrics[name] = value
        if time.monotonic() >= self._due():
            self._show()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # After a failure the pending values may be what failed: fetching them would hide the error.
        long = self._shown_at is not None or time.monotonic() >= self._due()
        if kind is None and self._shown_step != self._step and long:
            self._show(last=True)
        if self._bar is not None:
            self._bar.close()

    def _mark(self, examples: int) -> None:
        """Notes how far the loop is, and forgets what lies before the later half of its time."""
        now = time.monotonic() - _uncounted_seconds
        if not self._marks:
            self._first = self._last = now
            self._marks.append((now, self._step, 0))
            return
        self._last = now
        self._examples += examples
        if now - self._marks[-1][0] >= (now - self._first) / _MARKS:
            self._marks.append((now, self._step, self._examples))
        while len(self._marks) > 2 and self._marks[1][0] <= (self._first + now) / 2:
            self._marks.popleft()

    def _due(self) -> float:
        """Returns the moment from which on the next update is shown."""
        if self._bar is not None:
            return (self._shown_at or float("-inf")) + _SECONDS_BETWEEN_DRAWINGS
        if self._shown_at is None:
            return self._start + _SECONDS_BEFORE_LINES
        return self._shown_at + _SECONDS_BETWEEN_LINES

    def _show(self, last: bool = False) -> None:
        last = last or self._step >= self._total
        if self._bar is None:
            share = 100 * self._step // max(self._total, 1)
            head = f"{self._name}  step {self._step}/{self._total} ({share} %)"
            write_error(escape("  ".join([head, *self._figures(last).values()])) + "\n")
        else:
            self._bar.draw(self._drawn(last))
        self._shown_at, self._shown_step = time.monotonic(), self._step

    def _drawn(self, last: bool) -> str:
        """Returns the line that a terminal shows."""
        share = self._step / max(self._total, 1)
        head = f"{self._name} {100 * share:3.0f} %"
        parts = {"bar": "", "count": f"{self._step}/{self._total}", **self._figures(last)}
        # In the last column some terminals begin a new line.
        room, shown = _columns() - 1 - len(head), {"bar": False}
        for part in sorted(parts, key=_IMPORTANCE.index):
            room -= 2 + (len(parts[part]) or _SHORTEST_BAR + 2)
            if room < 0:
                break
            shown[part] = True
        if shown["bar"]:
            spare = _columns() - 1 - len(head) - sum(2 + len(parts[part]) for part in shown)
            parts["bar"] = _bar(share, spare - 2)
        chosen = [text for part, text in parts.items() if shown.get(part)]
        return escape("  ".join([head, *chosen]))[: _columns() - 1]

    def _figures(self, last: bool) -> dict[str, str]:
        figures = {name: f"{name} {float(value):.3f}" for name, value in self._metrics.items()}
        start, first, before = self._marks[0] if self._marks else (self._last, self._step, 0)
        seconds = self._last - start
        if self._examples and seconds > 0:
            figures["speed"] = f"{(self._examples - before) / seconds:.0f} {self._unit}/s"
        if last:
            figures["left"] = f"took {_clock(time.monotonic() - self._start)}"
        elif self._step > first and self._last - self._first >= _SECONDS_BEFORE_ESTIMATES:
            pace = seconds / (self._step - first)
            figures["left"] = f"{_clock(pace * (self._total - self._step))} left"
        return figures


def write_message(text: str) -> None:
    """Prints a line on the standard error stream, escaped, above a bar if one is open.

    Nothing is raised where the stream is closed, full or broken: a message lost ends no work.
    """
    bar = _bars[-1].text if _bars else ""
    write_error(f"{_over(bar, '')}{escape(text)}\n{bar}")


@contextlib.contextmanager
def uncounted() -> Iterator[None]:
    """Leaves the time that is spent in it out of every speed and of the time that is left."""
    global _uncounted_seconds
    start = time.monotonic()
    try:
        yield
    finally:
        _uncounted_seconds += time.monotonic() - start


class _Bar:
    """A line of a terminal that is drawn over and over.

    One inside another, as an evaluation's in a training, takes its place until it is closed; the
    outermost stays on the screen.

    Attributes:
      text: shown on the screen while no other bar is open inside it.
    """

    def __init__(self):
        self.text = _bars[-1].text if _bars else ""
        _bars.append(self)

    def draw(self, text: str) -> None:
        write_error(_over(self.text, text))
        self.text = text

    def close(self) -> None:
        _bars.remove(self)
        write_error(_over(self.text, _bars[-1].text) if _bars else "\n")


_bars: list[_Bar] = []
"""Those that are open; the last one is on the screen."""


def _over(before: str, text: str) -> str:
    """Returns what draws a text over the one that a line of the terminal shows."""
    if not before and not text:
        return ""
    rest = " " * max(min(len(before), _columns() - 1) - len(text), 0)
    return f"\r{text}{rest}" + ("" if text else "\r")


def _bar(share: float, columns: int) -> str:
    full = round(columns * min(share, 1.0))
    sign = "\N{FULL BLOCK}"
    with contextlib.suppress(UnicodeEncodeError):
        sign.encode(sys.stderr.encoding or "utf-8")
        return f"|{sign * full}{' ' * (columns - full)}|"
    return f"|{'#' * full}{' ' * (columns - full)}|"


def _is_terminal() -> bool:
    with contextlib.suppress(AttributeError, ValueError):  # there is no stream, or it is closed
        return sys.stderr.isatty()
    return False


def _columns() -> int:
    with contextlib.suppress(OSError, ValueError):
        if columns := os.get_terminal_size(sys.stderr.fileno()).columns:
            return columns
    return shutil.get_terminal_size().columns


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
