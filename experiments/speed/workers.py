"""Client side of the processes of the contenders."""

import json
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

from cases import Contender

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parents[1]

_ENVIRONMENT = {
    # Several processes share a GPU: none may take all of its memory.
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
    "TF_FORCE_GPU_ALLOW_GROWTH": "true",
    "TF_CPP_MIN_LOG_LEVEL": "3",
}


class Worker:
    """A process of one library, started by its first request."""

    def __init__(self, module: str, backend: str):
        """Sets the module of `contenders`, and the backend of Keras."""
        self._command = [sys.executable, "-W", "ignore", str(FOLDER / "worker.py"), module]
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        self._environment = {**_ENVIRONMENT, "PYTHONPATH": path, "KERAS_BACKEND": backend or "jax"}
        self._process: subprocess.Popen | None = None
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 `close` closes it
        self._lock = threading.Lock()

    def request(self, **message: Any) -> dict[str, Any]:
        """Sends a request and returns the reply, with 'error' if the process ended instead."""
        with self._lock:
            process = self._start()
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                process.stdin.write(json.dumps(message) + "\n")
                process.stdin.flush()
                line = process.stdout.readline()
            except BrokenPipeError:
                line = ""
            if line:
                return json.loads(line)
            self._process = None
            process.communicate()  # closes the pipes
            self._log.seek(0)
            log = self._log.read().decode(errors="replace").strip()[-300:]
            return {"error": f"the process ended with status {process.returncode}: {log}"}

    def _start(self) -> subprocess.Popen:
        if self._process is None:
            self._log.seek(0)
            self._log.truncate()
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                text=True,
                env={**os.environ, **self._environment},
                start_new_session=True,  # Ctrl-C is for the measuring process
            )
        return self._process

    @property
    def cpu_seconds(self) -> float:
        """CPU time of all threads so far; 0 if unknown."""
        if self._process is None:
            return 0.0
        try:
            stat = Path(f"/proc/{self._process.pid}/stat").read_text()
        except OSError:
            return 0.0
        user, system = stat.rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def close(self) -> None:
        """Ends the process."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()  # closes the pipes
        self._log.close()


class Workers:
    """The workers of all libraries."""

    def __init__(self) -> None:
        """Starts no process."""
        self._workers: dict[tuple[str, str], Worker] = {}

    def for_contender(self, contender: Contender) -> Worker:
        """Returns the worker of a contender."""
        key = contender.module, contender.backend
        if key not in self._workers:
            self._workers[key] = Worker(*key)
        return self._workers[key]

    def idle_cpu_seconds(self, active: Worker) -> float:
        """Returns the CPU time so far of all workers except the active one."""
        workers = self._workers.values()
        return sum(worker.cpu_seconds for worker in workers if worker is not active)

    def drop_jobs(self) -> None:
        """Drops the jobs of all workers."""
        for worker in self._workers.values():
            worker.request(do="drop_jobs")

    def close(self) -> None:
        """Ends all processes."""
        for worker in self._workers.values():
            worker.close()
        self._workers.clear()

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
