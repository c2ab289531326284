"""Verdicts on how a program treats a damaged input."""

import contextlib
import io
import re
import resource
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

from rnnjax import console
from rnnjax.errors import InputError

SECONDS, MEGABYTES, LETTERS = 10.0, 1_000, 3_000
"""The most that one input may take, add to the memory of the process, and fill a message with."""

PASSED = {
    "refused": "an InputError whose message names the file or the key",
    "recovered": "a message, and the answer of the undamaged input",
    "warned": "a warning, and another answer",
    "unchanged": "the answer of the undamaged input",
    "valid": "the input is another valid one, and is read as an independent reader reads it",
    "identical": "the repeated command ended bit for bit as the undisturbed run",
}
FAILED = {
    "traceback": "any other exception",
    "crash": "the process died",
    "hang": f"more than {SECONDS:g} seconds, those aside in which the machine ran others",
    "memory": f"more than {MEGABYTES} MB",
    "rejected": "a valid input was refused",
    "silent": "another answer without a word",
    "unclear": "a message that names nothing, is endless, or holds control characters",
    "executed": "code named by data was imported",
    "lost": "saved work was lost, or a failure ended with status 0",
    "different": "the repeated command ended otherwise than the undisturbed run",
}


class Outcome(NamedTuple):
    """The verdict on one input.

    Attributes:
      fault: name of the mutation.
      verdict: a key of `PASSED` or `FAILED`.
      message: of the program, or how its answer differs.
    """

    fault: str
    verdict: str
    message: str = ""

    @property
    def failed(self) -> bool:
        """Whether the verdict is a failure."""
        return self.verdict in FAILED


class Attempt(NamedTuple):
    """The result of a call.

    Attributes:
      value: returned; None if the call raised.
      verdict: '' if the call returned, 'refused' or the failure otherwise.
      message: of the exception.
      output: on both streams.
    """

    value: Any
    verdict: str
    message: str
    output: str


class DeadlineExceededError(BaseException):
    """A call took longer than the deadline. No handler of Exception may swallow it."""


@contextlib.contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Raises DeadlineExceededError in the main thread after some seconds.

    Those in which threads were ready, and the machine ran others, are not counted, up to nine
    tenths: an endless call is ended after ten times the seconds at most.
    """
    queued, started = _queued_seconds(), time.monotonic()

    def expire(number: int, frame: FrameType | None) -> None:
        nonlocal queued, started
        now = _queued_seconds(), time.monotonic()
        lost = min(now[0] - queued, 0.9 * (now[1] - started))
        queued, started = now
        if lost < 0.01:
            raise DeadlineExceededError
        signal.setitimer(signal.ITIMER_REAL, lost)

    before = signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def memory_limit(megabytes: int = 4 * MEGABYTES) -> Iterator[None]:
    """Lets allocations fail beyond what the process has mapped, before the machine runs out."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + megabytes * 10**6
    resource.setrlimit(resource.RLIMIT_AS, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def attempt(function: Callable[[], Any], seconds: float = SECONDS) -> Attempt:
    """Calls a function under a deadline, and catches its exception and its output."""
    output = io.StringIO()
    memory = _peak_megabytes()
    value, verdict, message = None, "", ""
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        try:
            with deadline(seconds), memory_limit():
                value = function()
        except InputError as error:
            verdict, message = "refused", str(error)
        except DeadlineExceededError as error:
            verdict, message = "hang", _where(error)
        except MemoryError as error:
            verdict, message = "memory", _where(error)
        except BaseException as error:
            verdict, message = "traceback", f"{type(error).__name__}: {error}; {_where(error)}"
    if _peak_megabytes() - memory > MEGABYTES:
        verdict, message = "memory", f"{_peak_megabytes() - memory:.0f} MB more"
    return Attempt(value, verdict, message, output.getvalue())


def judge(fault: str, tried: Attempt, expected: Any, names: Sequence[str]) -> Outcome:
    """Returns the verdict on a call with a damaged input.

    Args:
      fault: name of the mutation.
      tried: the call.
      expected: the answer of the undamaged input.
      names: of which a refusal must name one.
    """
    if tried.verdict == "refused":
        return refusal(fault, tried.message, names)
    if tried.verdict:
        return Outcome(fault, tried.verdict, tried.message)
    warned = "WARNING" in tried.output
    if tried.value == expected:
        return Outcome(fault, "recovered" if warned else "unchanged")
    if warned:
        return Outcome(fault, "warned", tried.output)
    return Outcome(fault, "silent", difference(tried.value, expected))


def refusal(fault: str, message: str, names: Sequence[str]) -> Outcome:
    """Returns the verdict on an error message, as a command line prints it."""
    message = console.escape(console.shorten(message))
    if re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", message):
        return Outcome(fault, "unclear", f"control characters: {message!r}")
    if len(message) > LETTERS:
        return Outcome(fault, "unclear", f"{len(message)} characters: {message}")
    if not any(name in message for name in names):
        return Outcome(fault, "unclear", f"names none of {list(names)}: {message}")
    return Outcome(fault, "refused", message)


def difference(ours: Any, theirs: Any) -> str:
    """Returns the place where two answers differ, in words."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        keys = [key for key in {**ours, **theirs} if ours.get(key) != theirs.get(key)]
        return "; ".join(f"{key}: {difference(ours.get(key), theirs.get(key))}" for key in keys[:3])
    return f"{str(ours)[:80]!r} instead of {str(theirs)[:80]!r}"


def _where(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    inside = [frame for frame in frames if "/rnnjax/" in frame.filename] or list(frames)
    frame = inside[-1]
    return f"in {frame.name} ({'/'.join(frame.filename.split('/')[-2:])})"


def _queued_seconds() -> float:
    """Returns how long threads of this process were ready to run and did not; 0 if unknown."""
    nanoseconds = 0
    for path in Path("/proc/self/task").glob("*/schedstat"):
        with contextlib.suppress(OSError):  # the thread has ended
            nanoseconds += int(path.read_text().split()[1])
    return nanoseconds / 1e9


def _peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_000
