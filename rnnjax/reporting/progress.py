"""Progress of loops: a bar on a terminal or in a notebook, occasional plain lines elsewhere."""

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
_MAX_SAMPLES = 100
"""Samples of the progress from which speed and time left are estimated."""

_MIN_BAR_WIDTH = 10
_NOTEBOOK_COLUMNS = 88
_PRIORITY = ("left", "loss", "bar", "count", "accuracy", "speed")
"""Parts of a line; a narrow terminal shows the first of them."""

_uncounted_seconds = 0.0
"""Seconds of this process that no loop counts in its speed."""

_is_silent = False
"""Whether another process shows progress and messages."""


class Progress:
    """Shows steps, metrics, speed and time left of a loop on the standard error stream.

        with Progress("train", total_steps, initial=step) as progress:
            for step in range(step + 1, total_steps + 1):
                ...
                progress.update(step, examples=n, loss=loss, accuracy=accuracy)

    If the stream is neither a terminal nor that of a notebook there is at most one line in ten
    seconds, and one for the last update; none if the loop ends within three seconds. On a terminal
    the line has its width, and parts without room are left out.

    Speed and time left are estimated from the second half of the elapsed time, so that a slow start
    has no lasting effect. They exclude the first update and all `uncounted` time, in which a loop
    compiles.
    """

    def __init__(self, name: str, total_steps: int, initial: int = 0, unit: str = "examples"):
        """Starts the clock.

        Args:
          name: name of the loop.
          total_steps: number of steps.
          initial: steps of an earlier process, excluded from the speed.
          unit: plural name of the examples that `update` counts.
        """
        self._name = name
        self._total = total_steps
        self._unit = unit
        self._step = initial
        self._examples = 0
        self._metrics: dict[str, Any] = {}
        self._start = time.monotonic()
        # Counted seconds, steps and examples. Estimates start from the first sample.
        self._samples: collections.deque[tuple[float, int, int]] = collections.deque()
        self._start_seconds = self._last_seconds = 0.0
        self._written_at: float | None = None
        self._written_step = initial
        is_shown = not _is_silent and (_is_notebook() or _is_terminal())
        self._bar = _Bar() if is_shown else None
        if self._bar is not None:
            self._bar.draw(self._format_bar_line(last=False))

    def update(self, step: int, examples: int = 0, loss: Any = None, accuracy: Any = None) -> None:
        """Updates the progress.

        Args:
          step: completed steps, including those of an earlier process.
          examples: number since the last update.
          loss: a number or a device array, which is fetched only when it is displayed, so that a
            loop does not wait for the device at each step. None retains the previous loss.
          accuracy: as `loss`.
        """
        self._step = step
        self._sample(examples)
        for name, value in (("loss", loss), ("accuracy", accuracy)):
            if value is not None:
                self._metrics[name] = value
        if time.monotonic() >= self._due():
            self._write()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # After an error, fetching pending values may fail and hide it.
        is_long = self._written_at is not None or time.monotonic() >= self._due()
        if kind is None and self._written_step != self._step and is_long:
            self._write(last=True)
        if self._bar is not None:
            self._bar.close()

    def _sample(self, examples: int) -> None:
        """Takes a sample, and drops those of the first half of the elapsed time."""
        seconds = time.monotonic() - _uncounted_seconds
        if not self._samples:
            self._start_seconds = self._last_seconds = seconds
            self._samples.append((seconds, self._step, 0))
            return
        self._last_seconds = seconds
        self._examples += examples
        if seconds - self._samples[-1][0] >= (seconds - self._start_seconds) / _MAX_SAMPLES:
            self._samples.append((seconds, self._step, self._examples))
        while len(self._samples) > 2 and self._samples[1][0] <= (self._start_seconds + seconds) / 2:
            self._samples.popleft()

    def _due(self) -> float:
        """Returns the time from which on the next update is displayed."""
        if _is_silent:
            return float("inf")
        if self._bar is not None:
            return (self._written_at or float("-inf")) + _SECONDS_BETWEEN_DRAWINGS
        if self._written_at is None:
            return self._start + _SECONDS_BEFORE_LINES
        return self._written_at + _SECONDS_BETWEEN_LINES

    def _write(self, last: bool = False) -> None:
        last = last or self._step >= self._total
        if self._bar is None:
            share = 100 * self._step // max(self._total, 1)
            head = f"{self._name}  step {self._step}/{self._total} ({share} %)"
            write_error(escape("  ".join([head, *self._figures(last).values()])) + "\n")
        else:
            self._bar.draw(self._format_bar_line(last))
        self._written_at, self._written_step = time.monotonic(), self._step

    def _format_bar_line(self, last: bool) -> str:
        """Formats the line of a terminal."""
        share = self._step / max(self._total, 1)
        head = f"{self._name} {100 * share:3.0f} %"
        parts = {"bar": "", "count": f"{self._step}/{self._total}", **self._figures(last)}
        # In the last column some terminals start a new line.
        room, visible = _columns() - 1 - len(head), {"bar": False}
        for part in sorted(parts, key=_PRIORITY.index):
            room -= 2 + (len(parts[part]) or _MIN_BAR_WIDTH + 2)
            if room < 0:
                break
            visible[part] = True
        if visible["bar"]:
            width = _columns() - 1 - len(head) - sum(2 + len(parts[part]) for part in visible)
            parts["bar"] = _bar(share, width - 2)
        chosen = [text for part, text in parts.items() if visible.get(part)]
        return escape("  ".join([head, *chosen]))[: _columns() - 1]

    def _figures(self, last: bool) -> dict[str, str]:
        figures = {name: f"{name} {float(value):.3f}" for name, value in self._metrics.items()}
        start, first_step, first_examples = (
            self._samples[0] if self._samples else (self._last_seconds, self._step, 0)
        )
        seconds = self._last_seconds - start
        if self._examples and seconds > 0:
            figures["speed"] = f"{(self._examples - first_examples) / seconds:.0f} {self._unit}/s"
        if last:
            figures["left"] = f"took {_clock(time.monotonic() - self._start)}"
        elif (
            self._step > first_step
            and self._last_seconds - self._start_seconds >= _SECONDS_BEFORE_ESTIMATES
        ):
            seconds_per_step = seconds / (self._step - first_step)
            figures["left"] = f"{_clock(seconds_per_step * (self._total - self._step))} left"
        return figures


def silence() -> None:
    """Drops progress and messages from now on, but for errors: another process shows them."""
    global _is_silent
    _is_silent = True


def write_message(text: str, is_error: bool = False) -> None:
    """Prints a line on the standard error stream, escaped, above a bar if one is open.

    Nothing is raised if the stream is closed, full or broken: a lost message ends no work.

    Args:
      text: of the line.
      is_error: whether it is printed in a process that `silence` has silenced.
    """
    if _is_silent and not is_error:
        return
    bar = _bars[-1].text if _bars else ""
    write_error(f"{_replace_line(bar, '')}{escape(text)}\n{bar}")


@contextlib.contextmanager
def uncounted() -> Iterator[None]:
    """Excludes the time inside from speeds and estimates."""
    global _uncounted_seconds
    start = time.monotonic()
    try:
        yield
    finally:
        _uncounted_seconds += time.monotonic() - start


class _Bar:
    """A line of a terminal that is redrawn in place.

    A nested bar, as of an evaluation during training, replaces the outer one until it is closed;
    the outermost stays on the screen.

    Attributes:
      text: displayed while no nested bar is open.
    """

    def __init__(self):
        self.text = _bars[-1].text if _bars else ""
        _bars.append(self)

    def draw(self, text: str) -> None:
        write_error(_replace_line(self.text, text))
        self.text = text

    def close(self) -> None:
        _bars.remove(self)
        write_error(_replace_line(self.text, _bars[-1].text) if _bars else "\n")


_bars: list[_Bar] = []
"""Open bars; the last one is on the screen."""


def _replace_line(previous: str, text: str) -> str:
    """Returns the control sequence that replaces a line of the terminal."""
    if not previous and not text:
        return ""
    rest = " " * max(min(len(previous), _columns() - 1) - len(text), 0)
    return f"\r{text}{rest}" + ("" if text else "\r")


def _bar(share: float, columns: int) -> str:
    full = round(columns * min(share, 1.0))
    sign = "\N{FULL BLOCK}"
    with contextlib.suppress(UnicodeEncodeError):
        sign.encode(sys.stderr.encoding or "utf-8")
        return f"|{sign * full}{' ' * (columns - full)}|"
    return f"|{'#' * full}{' ' * (columns - full)}|"


def _is_notebook() -> bool:
    """Returns whether the stream is shown below a cell, where a carriage return redraws a line."""
    return type(sys.stderr).__module__.startswith("ipykernel.")


def _is_terminal() -> bool:
    with contextlib.suppress(AttributeError, ValueError):  # no stream, or a closed one
        return sys.stderr.isatty()
    return False


def _columns() -> int:
    if _is_notebook():
        return _NOTEBOOK_COLUMNS
    with contextlib.suppress(OSError, ValueError):
        if columns := os.get_terminal_size(sys.stderr.fileno()).columns:
            return columns
    return shutil.get_terminal_size().columns


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
