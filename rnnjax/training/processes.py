"""Processes of a run, one or several a machine: start, agreement, and an end that all share.

JAX starts them, and adds up their gradients. Text goes by the key-value store of the first process,
where all of them show every second that they are alive: where one ends, the others end with a
message that names it.
"""

import atexit
import contextlib
import ctypes
import itertools
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

import jax
from jax._src import distributed  # neither the store nor the number of processes is public

from rnnjax.console import escape, shorten
from rnnjax.errors import InputError
from rnnjax.interrupt import InterruptedRunError
from rnnjax.reporting import progress

_FAILED, _INTERRUPTED = 2, 128 + signal.SIGINT
_GATHER, _ALIVE, _FAILURE = "rnnjax/gather", "rnnjax/alive", "rnnjax/failure"
"""Folders of the store: texts of `gather`, signs of life, and the first failure."""
_ENDED = "has ended, or cannot be reached"
_INTERVAL = 1.0
"""Seconds between two signs of life."""
_SILENCE, _SILENCE_AFTER_ERROR = 45.0, 5.0
"""Seconds without one after which a process is dead; the second where a connection broke."""
_HEARTBEAT_TIMEOUT = 60
"""Seconds until JAX ends a process, with a message of its own, where another thread cannot."""
_BARRIER_MILLISECONDS = 7 * 24 * 3600 * 1000
"""Milliseconds to wait for other processes, whose death ends the wait."""
_CONNECTION_WORDS = (
    "Gloo",
    "NCCL",
    "UNAVAILABLE",
    "CANCELLED",
    "ABORTED",
    "DEADLINE_EXCEEDED",
    "Barrier",
)
"""Words of JAX's errors where another process is the cause."""
_MAX_NAMES = 5
_rounds = itertools.count()


def num_processes() -> int:
    """Returns the number of processes of the run."""
    return distributed.global_state.num_processes if distributed.global_state.client else 1


def is_first() -> bool:
    """Returns whether this process is the one that writes the folder of the run."""
    return num_processes() == 1 or distributed.global_state.process_id == 0


def _store() -> Any:
    """Returns the key-value store of the first process."""
    return distributed.global_state.client


def gather(text: str) -> list[str]:
    """Returns a text of each process, in their order; each of them calls it."""
    store, count = _store(), num_processes()
    if count == 1:
        return [text]
    number = next(_rounds)
    folder, name = f"{_GATHER}/{number}", str(distributed.global_state.process_id)
    store.key_value_set(f"{folder}/{name}", text)
    store.wait_at_barrier(folder, _BARRIER_MILLISECONDS)
    if number:  # every process has read the round before
        store.key_value_delete(f"{_GATHER}/{number - 1}/{name}")
    texts = {key.rpartition("/")[2]: value for key, value in store.key_value_dir_get(folder)}
    return [texts[str(index)] for index in range(count)]


def wait_for_all() -> None:
    """Waits until every process has called it."""
    gather("")


def broadcast(value: Any) -> Any:
    """Returns the value of the first process, which JSON can write; each of them calls it."""
    return json.loads(gather(json.dumps(value))[0]) if num_processes() > 1 else value


def check_equal(values: Mapping[str, Any], remedy: str) -> None:
    """Raises InputError, in every process, if the values of one differ from those of the first.

    Args:
      values: by name, which JSON can write.
      remedy: the end of the message.
    """
    if num_processes() == 1:
        return
    reference, *remaining = map(json.loads, gather(json.dumps(values)))
    for index, actual in enumerate(remaining, start=1):
        pairs = {
            name: (reference.get(name), actual.get(name))
            for name in {**reference, **actual}
            if reference.get(name) != actual.get(name)
        }
        if pairs:
            shown = itertools.islice(pairs.items(), _MAX_NAMES)
            lines = "\n".join(f"  {name}: {a!r}, {b!r}" for name, (a, b) in shown)
            raise InputError(
                f"--distributed: process {index} differs from process 0 in {len(pairs)} values "
                f"(process 0, process {index}):\n{lines}\n{remedy}"
            )


def is_connection_error(error: BaseException | None) -> bool:
    """Returns whether an error, or the cause of one, is a lost connection to another process."""
    if error is None or num_processes() == 1:
        return False
    is_of_library = not isinstance(error, InputError) and isinstance(error, Exception)
    is_lost = is_of_library and any(word in str(error) for word in _CONNECTION_WORDS)
    return is_lost or is_connection_error(error.__cause__)


@contextlib.contextmanager
def join_processes(
    coordinator: str | None, count: int | None, index: int | None, timeout: int
) -> Iterator[None]:
    """Joins the processes of a run, and leaves them at the end of the block.

    An error of the block ends the other processes too, with a message that names this one.

    Args:
      coordinator: address and port of the first process; None for that of Slurm, Kubernetes or
        Open MPI, as for `jax.distributed.initialize`, like the following.
      count: number of processes.
      index: of this one.
      timeout: seconds that the processes wait for each other at the start.

    Raises:
      InputError: a number is missing or out of range, or the coordinator's port is taken.
    """
    if coordinator and index == 0:
        _check_port(coordinator)
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.config.update("jax_enable_preemption_service", False)  # it would take SIGTERM
    name = f"process {'' if index is None else f'{index} '}on {socket.gethostname()}"
    _ending.install(
        f"--distributed: the processes did not all come within {timeout} seconds (this is {name}, "
        f"the coordinator {coordinator or 'that of the cluster'}); start every one of them with "
        "the same --coordinator and --processes and another --process, see that they reach that "
        "address, or set a longer --start_timeout"
    )
    try:
        jax.distributed.initialize(
            coordinator,
            count,
            index,
            initialization_timeout=timeout,
            heartbeat_timeout_seconds=_HEARTBEAT_TIMEOUT,
        )
    except (ValueError, TypeError, RuntimeError, ImportError, OSError) as error:
        raise InputError(
            f"--distributed: the processes cannot be joined ({str(error).splitlines()[0]}); give "
            "--coordinator HOST:PORT of the first process, --processes and --process, or start "
            "them by Slurm, Kubernetes or Open MPI"
        ) from error
    hosts = gather(socket.gethostname())
    if not is_first():
        progress.silence()
    watcher = _Watcher([f"process {number} on {host}" for number, host in enumerate(hosts)])
    watcher.start()
    try:
        yield
        wait_for_all()
    except InterruptedRunError:  # of all processes, after the same step
        watcher.stop()
        raise
    except BaseException as error:
        watcher.report(error)
        status = getattr(error, "status", _INTERRUPTED)
        is_interrupted = isinstance(error, KeyboardInterrupt)
        atexit.register(os._exit, status if is_interrupted else _FAILED)  # JAX would wait
        raise
    watcher.stop()


def _check_port(coordinator: str) -> None:
    """Raises InputError if the coordinator cannot listen to its port, which would crash JAX."""
    try:
        socket.create_server(("", int(coordinator.rpartition(":")[2]))).close()
    except (OSError, OverflowError) as error:
        raise InputError(
            f"--coordinator: given {coordinator}, and its port cannot be used ({error}); give "
            "another to all processes"
        ) from None


class _Ending:
    """Ends the process with a message, once, also where JAX aborts it.

    JAX aborts a process whose coordinator has gone, from a thread of its own, with a message that
    names nobody.
    """

    def __init__(self):
        self._message, self._lock = "", threading.Lock()
        self._handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(lambda _: self.end(self._message))

    def install(self, message: str) -> None:
        """Sets the message for an abort.

        Handlers of the module `signal` run in the main thread, which may be waiting for the others.
        """
        self._message = message
        ctypes.CDLL(None).signal(signal.SIGABRT, self._handler)

    def restore(self) -> None:
        """Lets an abort end the process without a message again."""
        ctypes.CDLL(None).signal(signal.SIGABRT, signal.SIG_DFL)

    def end(self, message: str, seconds: float = 0.0) -> None:
        """Prints a message, and exits after some seconds."""
        if self._lock.acquire(blocking=False):
            line = escape(shorten(f"error: {message}")) + "\n"
            with contextlib.suppress(OSError):  # past the stream, which a thread may be writing to
                os.write(2, line.encode(errors="backslashreplace"))
            time.sleep(seconds)
            os._exit(_FAILED)
        time.sleep(_SILENCE)  # another thread is ending the process


_ending = _Ending()


class _Watcher(threading.Thread):
    """A thread that ends this process where another one has ended."""

    def __init__(self, names: list[str]):
        super().__init__(daemon=True)
        self._store, self._names = _store(), names
        self._index = distributed.global_state.process_id
        self._stopped, self._silence = threading.Event(), _SILENCE
        # The store of the first process ends with it: others read their messages there.
        self._exit_delay = 0.0 if self._index else 3 * _INTERVAL
        self._coordinator_message = self._describe(
            names[0] if self._index else "another process", _ENDED
        )
        _ending.install(self._coordinator_message)

    def run(self) -> None:
        """Shows that this process is alive, and looks at the others."""
        beats: dict[int, tuple[str | None, float]] = {}
        for number in itertools.count():
            try:
                self._store.key_value_set(f"{_ALIVE}/{self._index}", str(number), True)
                alive = dict(self._store.key_value_dir_get(_ALIVE))
                failures = dict(self._store.key_value_dir_get(_FAILURE))
            except Exception:  # of the first process, which does not answer
                if not self._stopped.wait(_INTERVAL):
                    _ending.end(self._coordinator_message)
                return
            moment = time.monotonic()
            for index in range(len(self._names)):
                beat = alive.get(f"{_ALIVE}/{index}")
                if index not in beats or beat != beats[index][0]:
                    beats[index] = beat, moment
                elif moment - beats[index][1] > self._silence and not failures:
                    failures[_FAILURE] = json.dumps([index, _ENDED])
                    self._publish(index, _ENDED)
            for index, message in map(json.loads, failures.values()):
                if index != self._index:
                    _ending.end(self._describe(self._names[index], message), self._exit_delay)
            if self._stopped.wait(_INTERVAL):
                return

    def stop(self) -> None:
        """Ends the thread, and leaves the processes, which all call it."""
        self._stopped.set()
        self.join()
        jax.distributed.shutdown()
        _ending.restore()

    def report(self, error: BaseException) -> None:
        """Sends an error to the other processes, unless the end of one of them has caused it."""
        if is_connection_error(error):
            self._silence = _SILENCE_AFTER_ERROR
            self.join(_SILENCE)
        self._stopped.set()
        self._publish(self._index, f"has ended: {str(error) or type(error).__name__}")
        time.sleep(self._exit_delay)

    def _publish(self, index: int, message: str) -> None:
        with contextlib.suppress(Exception):  # another process was first, or the store is gone
            self._store.key_value_set(f"{_FAILURE}/first", json.dumps([index, message]))

    @staticmethod
    def _describe(name: str, message: str) -> str:
        return (
            f"{name} {message}. So this one ends too; start all of them again by the same command, "
            "which goes on from the newest checkpoint"
        )
