"""Workers of an experiment on a Ray cluster: processes that train its runs.

A run is an actor, which starts the training as a process in the folder of the experiment: all
machines need that folder, by the same path, and an installation of rnnjax. The training dies with
its actor; the run of an actor that is lost is started again, and goes on from its last checkpoint.
"""

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rnnjax.errors import InputError
from rnnjax.experiment.workers import TrainingProcess
from rnnjax.reporting.atomic_files import open_no_follow
from rnnjax.reporting.progress import write_message

_POLL_SECONDS = 0.2

# Linux ends the training when its parent has ended, however that was.
_DIES_WITH_ITS_PARENT = """
import ctypes, os, signal, sys
parent = int(sys.argv[1])
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
if os.getppid() != parent:
    sys.exit("the worker has ended")
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""


class RayWorkers:
    """Actors of a Ray cluster.

    Attributes:
      count: most runs at a time.
    """

    def __init__(self, count: int, cpus: float, gpus: float, retries: int):
        """Takes the number of runs at a time, and for each its resources and restarts."""
        self.count = count
        self._resources = {"num_cpus": cpus, "num_gpus": gpus}
        self._retries = retries

    def start(self, arguments: Sequence[str], log: Path) -> TrainingProcess:
        """Starts a training, as for `rnnjax.experiment.workers.Workers`."""
        return _ActorProcess(self._resources, self._retries, arguments, log)


@contextmanager
def connect(
    address: str, jobs: int | None, cpus: float, gpus: float, retries: int
) -> Iterator[RayWorkers]:
    """Connects to a Ray cluster, and leaves it at the end.

    Args:
      address: of the cluster; '' to start one on this machine.
      jobs: most runs at a time; None for as many as the resources allow.
      cpus: of each run, at least one.
      gpus: of each run.
      retries: restarts of a run whose worker is lost.

    Raises:
      InputError: Ray is not installed, the cluster cannot be reached or has not the resources of a
        run.
    """
    try:
        import ray
    except ImportError as error:
        raise InputError(
            f"--cluster needs Ray, which cannot be imported ({error}); install the extra: "
            "pip install 'rnnjax[cluster]'"
        ) from error
    options: dict[str, Any] = {"address": address} if address else {"include_dashboard": False}
    try:
        ray.init(**options, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError, RuntimeError, TimeoutError) as error:
        raise InputError(
            f"--cluster={address}: cannot be reached ({' '.join(str(error).split())[:200]}); "
            "expected the address of a running cluster, HOST:PORT, or no address"
        ) from error
    try:
        total = ray.cluster_resources()
        needs = {"CPU": cpus, "GPU": gpus}
        slots = [int(total.get(name, 0) // need) for name, need in needs.items() if need]
        if not min(slots):
            raise InputError(
                f"--cluster: a run needs {cpus:g} CPUs and {gpus:g} GPUs, and the cluster has "
                f"{total.get('CPU', 0):g} and {total.get('GPU', 0):g}; lower --cpus or --gpus"
            )
        yield RayWorkers(min([*slots, jobs or slots[0]]), cpus, gpus, retries)
    finally:
        ray.shutdown()


class _Trainer:
    """Actor that trains a run in a process of its own."""

    def __init__(self, arguments: Sequence[str], log: str, folder: str):
        with open(log, "ab", opener=open_no_follow) as output:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _DIES_WITH_ITS_PARENT, str(os.getpid()), *arguments],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                process_group=0,
            )

    def poll(self) -> int | None:
        return self._process.poll()

    def terminate(self) -> None:
        self._process.terminate()


class _ActorProcess:
    """The training of a run by actors, one after the other where they are lost."""

    def __init__(
        self, resources: dict[str, float], retries: int, arguments: Sequence[str], log: Path
    ):
        import ray

        self._actor_class = ray.remote(_Trainer).options(**resources)
        self._arguments, self._log, self._retries = list(arguments), log, retries
        self._status: int | None = None
        self._is_terminated = False
        self._launch()

    def _launch(self) -> None:
        log, folder = str(self._log.resolve()), str(Path.cwd())
        self._actor: Any = self._actor_class.remote(self._arguments, log, folder)
        self._answer: Any = None
        self._asked_at, self._has_begun = 0.0, False

    def poll(self) -> int | None:
        import ray
        from ray.exceptions import RayActorError

        if self._status is not None or time.monotonic() - self._asked_at < _POLL_SECONDS:
            return self._status
        if self._answer is None:
            self._answer = self._actor.poll.remote()
        if not ray.wait([self._answer], timeout=0)[0]:
            return None
        try:
            self._status = ray.get(self._answer)
        except RayActorError as error:
            self._restart(error)
        else:
            self._answer, self._asked_at, self._has_begun = None, time.monotonic(), True
            if self._status is not None:
                ray.kill(self._actor)
        return self._status

    def terminate(self) -> None:
        """Sends SIGTERM to the training; one that has not begun does not begin."""
        import ray

        self._is_terminated = True
        if self._has_begun:
            self._actor.terminate.remote()
        else:
            ray.kill(self._actor)
            self._status = -signal.SIGTERM

    def _restart(self, error: Exception) -> None:
        """Starts the training on another worker, unless it was terminated or has no restarts."""
        reason = str(error).strip().splitlines()[0]
        if self._is_terminated or not self._retries:
            write_message(f"{self._log.stem}: its worker was lost ({reason})")
            self._status = -signal.SIGKILL
            return
        self._retries -= 1
        write_message(f"{self._log.stem}: its worker was lost ({reason}); it goes on with another")
        self._launch()
