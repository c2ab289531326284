"""Command lines in forked processes, which are monitored, disturbed and killed.

The parent has imported the package and has started no device, which saves a child the imports.
"""

import atexit
import contextlib
import errno
import json
import os
import resource
import runpy
import select
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT = 180.0
"""Seconds until a process is killed."""
_CHANGE_EVENTS = {"os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.link", "os.truncate"}
_WRITE_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_SIGNALS = signal.SIGINT, signal.SIGTERM, signal.SIGHUP
_LIMITS = resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE
_suspended = threading.Event()
"""Set while a child summarizes: its changes of files are then those of no command."""


class Moment(NamedTuple):
    """A moment in the life of a process.

    Attributes:
      event: changes of files that have begun before it.
      delay: seconds after the last of them.
    """

    event: int
    delay: float


class WriteFailure(NamedTuple):
    """Changes of files that fail.

    Attributes:
      event: number of the first one.
      number: the errno.
      lasting: whether all after it fail as well.
    """

    event: int
    number: int
    lasting: bool


class ProcessResult(NamedTuple):
    """A process that has ended.

    Attributes:
      status: as `subprocess` has it; None if it had to be killed after `TIMEOUT` seconds.
      events: seconds from its start to each change of a file, and the file.
      seconds: its duration.
      out: its standard output.
      err: its standard error.
    """

    status: int | None
    events: list[tuple[float, str]]
    seconds: float
    out: str
    err: str

    @property
    def has_traceback(self) -> bool:
        """Whether it printed a Python traceback."""
        return "Traceback (most" in self.err or "Exception ignored" in self.err


def run(
    module: str,
    arguments: Sequence[str],
    folder: Path,
    *,
    kill: tuple[Moment, Sequence[int]] | None = None,
    fail: WriteFailure | None = None,
    streams: Mapping[int, int | None] | None = None,
    prepare: Callable[[], None] = lambda: None,
    summarize: Callable[[], Any] | None = None,
) -> ProcessResult:
    """Runs `python -m MODULE ARGUMENTS` to its end.

    Args:
      module: run as the main one.
      arguments: of its command line.
      folder: changes of files under it are watched; its streams are kept there.
      kill: when signals are sent, and which.
      fail: which changes of files fail.
      streams: descriptors in the place of 0, 1 and 2; None for a closed one.
      prepare: called in the child first.
      summarize: called in the child when it has succeeded; its value goes to `summary.json`.
    """
    reader, writer = os.pipe()
    out, err = folder / "out.txt", folder / "err.txt"
    (folder / "summary.json").unlink(missing_ok=True)
    out.write_bytes(b"")
    err.write_bytes(b"")
    start = time.monotonic()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        status = 70
        try:
            signal.signal(signal.SIGHUP, signal.SIG_DFL)  # ignored if the campaign is (`nohup`)
            _redirect(out, err, dict(streams or {}))
            _watch(writer, folder, kill, fail)
            prepare()
            status = _run(module, arguments, folder, summarize)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(writer)
    try:
        events, status = _monitor(pid, reader, start, kill)
    finally:
        os.close(reader)
    seconds = time.monotonic() - start
    streams_text = (path.read_text(encoding="utf-8", errors="replace") for path in (out, err))
    return ProcessResult(status, events, seconds, *streams_text)


def read_summary(folder: Path) -> Any:
    """Returns the value of `summarize`; None if the process did not succeed."""
    path = folder / "summary.json"
    return json.loads(path.read_text()) if path.exists() else None


def _run(
    module: str, arguments: Sequence[str], folder: Path, summarize: Callable[[], Any] | None
) -> int:
    """Runs a module, shuts down as the interpreter does, and returns the status."""
    os.chdir(ROOT)
    sys.argv = [module, *arguments]
    status = 0
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str) and sys.stderr:
            print(end.code, file=sys.stderr)
    except BaseException:
        with contextlib.suppress(OSError):
            traceback.print_exc()
        status = 1
    if status == 0 and summarize:  # before its threads end
        with _undisturbed():
            (folder / "summary.json").write_text(json.dumps(summarize(), default=str))
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    try:
        if sys.stdout and not sys.stdout.closed:
            sys.stdout.flush()
    except Exception as error:  # as the interpreter reports it
        with contextlib.suppress(OSError):
            print(f"Exception ignored in: stdout\n{type(error).__name__}: {error}", file=sys.stderr)
        status = 120
    return status


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Suspends signals, limits, and the watch of files: the command itself has ended."""
    handlers = {number: signal.signal(number, signal.SIG_IGN) for number in _SIGNALS}
    limits = {kind: resource.getrlimit(kind) for kind in _LIMITS}
    for kind, (_, hard) in limits.items():
        resource.setrlimit(kind, (hard, hard))
    _suspended.set()
    try:
        yield
    finally:
        _suspended.clear()
        for kind, limit in limits.items():
            resource.setrlimit(kind, limit)
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _redirect(out: Path, err: Path, streams: dict[int, int | None]) -> None:
    flags = os.O_WRONLY | os.O_APPEND
    files = {0: os.open(os.devnull, os.O_RDONLY), 1: os.open(out, flags), 2: os.open(err, flags)}
    for number, target in {**files, **streams}.items():
        if target is None:
            os.close(number)
        else:
            os.dup2(target, number)
    for target in {target for target in (*files.values(), *streams.values()) if target is not None}:
        if target > 2:
            os.close(target)
    for number, (name, mode) in enumerate({"stdin": "r", "stdout": "w", "stderr": "w"}.items()):
        buffering = 1 if name == "stderr" else -1
        errors = "backslashreplace" if name == "stderr" else "strict"
        missing = number in streams and streams[number] is None
        stream = None if missing else open(number, mode, buffering, errors=errors, closefd=False)  # noqa: SIM115
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _watch(
    pipe: int, folder: Path, kill: tuple[Moment, Sequence[int]] | None, fail: WriteFailure | None
) -> None:
    """Reports each change of a file in a folder on a pipe, and makes some of them fail."""
    count = [0]
    lock = threading.Lock()

    def hook(name: str, arguments: tuple[Any, ...]) -> None:
        if _suspended.is_set():
            return
        if name == "open":
            if not isinstance(arguments[2], int) or not arguments[2] & _WRITE_FLAGS:
                return
        elif name not in _CHANGE_EVENTS:
            return
        path = arguments[0]
        if not isinstance(path, str | bytes) or str(folder).encode() not in os.fsencode(path):
            return
        with lock:
            count[0] += 1
            number = count[0]
            os.write(pipe, f"{os.fsdecode(path)}\n".encode())
        if kill and kill[0].delay == 0 and number == kill[0].event:
            for signal_number in kill[1]:
                os.kill(os.getpid(), signal_number)
        if fail and (number == fail.event or (fail.lasting and number > fail.event)):
            raise OSError(fail.number, os.strerror(fail.number), path)

    sys.addaudithook(hook)


def _monitor(
    pid: int, reader: int, start: float, kill: tuple[Moment, Sequence[int]] | None
) -> tuple[list[tuple[float, str]], int | None]:
    """Reads the events of a process to its end, and sends its signals."""
    events: list[tuple[float, str]] = []
    rest, pending = b"", kill[1] if kill and kill[0].delay else ()
    due = start + kill[0].delay if kill and pending and kill[0].event == 0 else None
    while True:
        current_time = time.monotonic()
        if current_time - start > TIMEOUT:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return events, None
        if due is not None and current_time >= due:
            for signal_number in pending:
                os.kill(pid, signal_number)
            due, pending = None, ()
        wait = TIMEOUT if due is None else max(due - current_time, 0.0)
        if not select.select([reader], [], [], min(wait, 5.0))[0]:
            continue
        piece = os.read(reader, 2**16)
        if not piece:
            break
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            events.append((time.monotonic() - start, line.decode(errors="replace")))
            if kill and pending and len(events) == kill[0].event:
                due = time.monotonic() + kill[0].delay
    _, raw = os.waitpid(pid, 0)
    return events, os.waitstatus_to_exitcode(raw)


def error_numbers() -> list[int]:
    """Returns the error numbers of a failed write."""
    return [errno.ENOSPC, errno.EIO, errno.EMFILE, errno.EROFS, errno.EDQUOT, errno.EACCES]
