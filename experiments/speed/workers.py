"""The processes of the contenders, seen from the one that measures."""

import json
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

from cases import Contender

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]

_SETTINGS = {
    # Several processes share a GPU: none may take all of its memory.
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
    "TF_FORCE_GPU_ALLOW_GROWTH": "true",
    "TF_CPP_MIN_LOG_LEVEL": "3",
}


class Worker:
    """A process of one library; it is started when it is first asked."""

    def __init__(self, module: str, backend: str):
        """Takes the module of `contenders`, and the backend of Keras."""
        self._command = [sys.executable, "-W", "ignore", str(HERE / "worker.py"), module]
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        self._settings = {**_SETTINGS, "PYTHONPATH": path, "KERAS_BACKEND": backend or "jax"}
        self._process: subprocess.Popen | None = None
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 `close` closes it
        self._lock = threading.Lock()

    def ask(self, **message: Any) -> dict[str, Any]:
        """Returns the answer; one with 'error' if the process ended instead."""
        with self._lock:
            process = self._started()
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
            status = process.wait()
            self._log.seek(0)
            said = self._log.read().decode(errors="replace").strip()[-300:]
            return {"error": f"the process ended with status {status}: {said}"}

    def _started(self) -> subprocess.Popen:
        if self._process is None:
            self._log.seek(0)
            self._log.truncate()
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                text=True,
                env={**os.environ, **self._settings},
                start_new_session=True,  # Ctrl-C is for the one that measures
            )
        return self._process

    @property
    def cpu_seconds(self) -> float:
        """What its threads have computed so far; 0 where the system does not tell."""
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
            process.wait()
        self._log.close()


class Workers:
    """A worker for each library that takes part."""

    def __init__(self) -> None:
        """Starts none."""
        self._workers: dict[tuple[str, str], Worker] = {}

    def of(self, contender: Contender) -> Worker:
        """Returns the worker of a contender."""
        key = contender.module, contender.backend
        if key not in self._workers:
            self._workers[key] = Worker(*key)
        return self._workers[key]

    def idle_cpu(self, but: Worker) -> float:
        """Returns what all the workers but one have computed so far, in seconds."""
        return sum(each.cpu_seconds for each in self._workers.values() if each is not but)

    def forget(self) -> None:
        """Lets every worker drop its jobs."""
        for worker in self._workers.values():
            worker.ask(do="forget")

    def close(self) -> None:
        """Ends them all."""
        for worker in self._workers.values():
            worker.close()
        self._workers.clear()

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
