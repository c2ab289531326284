"""What a long loop shows: a bar on a terminal, now and then a plain line elsewhere."""

import sys
import time
from types import TracebackType
from typing import Any

_SECONDS_BETWEEN_LINES = 10.0
_SECONDS_BEFORE_LINES = 3.0
_SECONDS_BETWEEN_DRAWINGS = 0.1


class Progress:
    """Shows how far a loop has come, how well and how fast, on the standard error stream.

        with Progress("train", total_steps, initial=step) as progress:
            for step in range(step + 1, total_steps + 1):
                ...
                progress.update(step, examples=n, loss=loss, accuracy=accuracy)

    Where the stream is not a terminal there is at most one line in ten seconds, and one for the
    last update; none if all is over in three seconds. The first update is no part of the speed: a
    loop compiles in it.
    """

    def __init__(self, name: str, total_steps: int, initial: int = 0):
        """Starts the clock.

        Args:
          name: what the loop does.
          total_steps: where it ends.
          initial: the steps that an earlier process has done; no part of the speed.
        """
        self._name = name
        self._total = total_steps
        self._initial = self._step = initial
        self._examples = 0
        self._metrics: dict[str, Any] = {}
        self._start = time.monotonic()
        # Where the speed is measured from: the first update, in which a loop compiles.
        self._from: tuple[float, int] | None = None
        self._shown_at: float | None = None
        self._shown_step = initial
        self._bar = _bar(name, total_steps, initial) if sys.stderr.isatty() else None

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
        if self._from is None:
            self._from = time.monotonic(), step
        else:
            self._examples += examples
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

    def _due(self) -> float:
        """Returns the moment from which on the next update is shown."""
        if self._bar is not None:
            return (self._shown_at or float("-inf")) + _SECONDS_BETWEEN_DRAWINGS
        if self._shown_at is None:
            return self._start + _SECONDS_BEFORE_LINES
        return self._shown_at + _SECONDS_BETWEEN_LINES

    def _show(self, last: bool = False) -> None:
        figures = "  ".join(self._figures(last or self._step >= self._total))
        self._shown_at, self._shown_step = time.monotonic(), self._step
        if self._bar is None:
            share = 100 * self._step // max(self._total, 1)
            line = f"{self._name}  step {self._step}/{self._total} ({share} %)  {figures}"
            print(line.rstrip(), file=sys.stderr, flush=True)
        else:
            self._bar.n = self._step
            self._bar.set_description_str(figures, refresh=True)

    def _figures(self, last: bool) -> list[str]:
        figures = [f"{name} {float(value):.3f}" for name, value in self._metrics.items()]
        now = time.monotonic()
        start, first = self._from or (now, self._step)
        if self._examples and now > start:
            figures.append(f"{self._examples / (now - start):.0f} examples/s")
        if last:
            figures.append(f"took {_clock(now - self._start)}")
        elif self._step > first:
            pace = (now - start) / (self._step - first)
            figures.append(f"{_clock(pace * (self._total - self._step))} left")
        return figures


def say(text: str) -> None:
    """Prints a line on the standard error stream, above a bar if one is open."""
    if sys.stderr.isatty():
        from tqdm import tqdm

        tqdm.write(text, file=sys.stderr)
    else:
        print(text, file=sys.stderr, flush=True)


def _bar(name: str, total_steps: int, initial: int) -> Any:
    from tqdm import tqdm

    return tqdm(
        total=total_steps,
        initial=initial,
        file=sys.stderr,
        dynamic_ncols=True,
        # The outermost bar stays on the screen; one inside it, as an evaluation's, goes.
        leave=None,
        bar_format=name + " {percentage:3.0f} %|{bar}| {n_fmt}/{total_fmt}  {desc}",
    )


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
