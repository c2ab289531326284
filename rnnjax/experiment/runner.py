"""Trains the missing runs of an experiment, several in parallel."""

import contextlib
import dataclasses
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from rnnjax.cli.signals import Terminated
from rnnjax.config import Config
from rnnjax.errors import InputError
from rnnjax.experiment import records
from rnnjax.experiment.plan import Entry, Experiment
from rnnjax.interrupt import InterruptRequest
from rnnjax.reporting import metrics_log
from rnnjax.reporting.atomic_files import lock_file, open_no_follow
from rnnjax.reporting.progress import write_message

_POLL_SECONDS = 0.05
_REPORT_SECONDS = 10.0


@contextlib.contextmanager
def lock_experiment(folder: Path) -> Iterator[None]:
    """Locks the runs of an experiment against other processes.

    Raises:
      InputError: another process holds the lock, or the folder cannot be written.
    """
    runs = runs_folder(folder)
    try:
        runs.mkdir(parents=True, exist_ok=True)
        lock = lock_file(runs / ".lock")
    except BlockingIOError:
        raise InputError(
            f"{folder}: another process is running this experiment; wait for it"
        ) from None
    except OSError as error:
        raise InputError(
            f"{runs}: the folder of its runs cannot be written ({error.strerror}); start from "
            "another folder, or make it writable"
        ) from error
    with lock:
        yield


def run_missing(
    experiment: Experiment, configs: Mapping[str, Config], seeds: Sequence[int], jobs: int
) -> None:
    """Trains all entries with all seeds that have no record, and records finished runs.

    Args:
      experiment: with its records.
      configs: config of each entry by name.
      seeds: random seeds.
      jobs: maximum number of parallel runs.

    Raises:
      InputError: a run failed.
      Terminated: after SIGINT, SIGTERM or SIGHUP, which were passed on to the active runs.
    """
    recorded = {(run["name"], run["seed"]) for run in experiment.runs}
    waiting = [
        Planned(entry, seed, runs_folder(experiment.folder) / f"{entry.name}-seed{seed}")
        for entry in experiment.plan.entry
        for seed in seeds
        if (entry.name, seed) not in recorded
    ]
    claims = {entry.name: entry.claims for entry in experiment.plan.entry}

    def record(run: records.Run) -> None:
        records.append(experiment.records, {**run, "claims": claims[run["name"]]})

    train(experiment, configs, waiting, jobs, record)


class Planned(NamedTuple):
    """A run to train: entry, seed and folder."""

    entry: Entry
    seed: int
    workdir: Path


def train(
    experiment: Experiment,
    configs: Mapping[str, Config],
    planned: Sequence[Planned],
    jobs: int,
    record: Callable[[records.Run], None],
) -> None:
    """Trains runs, and passes the records of finished ones to a function.

    A run is the command in its record, in its own process and folder, so that interrupted runs are
    resumed; its output goes to a file beside that folder. After a failure no run is started any
    more, and the active ones finish.

    Args:
      experiment: experiment of the runs.
      configs: config of each entry by name.
      planned: the runs, in their order.
      jobs: maximum number of parallel runs.
      record: takes the record of a finished run.

    Raises:
      InputError: a run failed.
      Terminated: after SIGINT, SIGTERM or SIGHUP, which were passed on to the active runs.
    """
    waiting, total = list(planned), len(planned)
    active: list[_Training] = []
    failed: list[_Training] = []
    reported_at = time.monotonic()
    with InterruptRequest() as request, _interrupt_at_exit(active):
        while active or (waiting and not failed and not request.signal):
            while waiting and len(active) < jobs and not failed and not request.signal:
                active.append(_Training.start(experiment, waiting.pop(0)))
                write_message(f"{active[-1].name}: started, {total - len(waiting)} of {total}")
            for training in active:
                training.alone = training.alone and len(active) == 1
                if request.signal:
                    training.interrupt()
            time.sleep(_POLL_SECONDS)
            for training in [run for run in active if run.process.poll() is not None]:
                active.remove(training)
                if training.process.returncode == 0:
                    record(training.record())
                    left = len(waiting) + len(active)
                    write_message(f"{training.name}: ended, {left} of {total} are left")
                elif not training.interrupted:
                    failed.append(training)
            if active and time.monotonic() - reported_at > _REPORT_SECONDS:
                progress = ", ".join(run.progress(configs[run.entry.name]) for run in active)
                write_message(f"{progress}; {len(waiting)} of {total} wait")
                reported_at = time.monotonic()
    if failed:
        raise InputError("\n".join(training.failure() for training in failed))
    if request.signal:
        write_message(f"{request.signal}: the active runs are saved; the same command resumes them")
        raise Terminated(signal.Signals[request.signal])


@dataclasses.dataclass
class _Training:
    """A training in progress.

    Attributes:
      alone: whether no other run was active, from its start to its end.
      interrupted: whether it was sent SIGTERM.
    """

    entry: Entry
    seed: int
    workdir: Path
    typed: list[str]
    process: subprocess.Popen[bytes]
    alone: bool
    interrupted: bool = False

    @classmethod
    def start(cls, experiment: Experiment, planned: Planned) -> "_Training":
        entry, seed, workdir = planned
        typed = experiment.train_arguments(entry, f"--config.seed={seed}", f"--workdir={workdir}")
        alone = not workdir.exists()
        workdir.parent.mkdir(parents=True, exist_ok=True)
        with open(_log(workdir), "ab", opener=open_no_follow) as log:
            process = subprocess.Popen(
                [sys.executable, *typed],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                process_group=0,  # Ctrl-C reaches this process alone, which passes it on
            )
        return cls(entry, seed, workdir, typed, process, alone)

    @property
    def name(self) -> str:
        return f"{self.entry.name}, seed {self.seed}"

    @property
    def command(self) -> str:
        return shlex.join(["python", *self.typed])

    def interrupt(self) -> None:
        """Sends SIGTERM once, which saves the run: a second one would kill it."""
        if not self.interrupted:
            self.process.terminate()
            self.interrupted = True

    def progress(self, config: Config) -> str:
        """Returns the name and the share of epochs that are done."""
        path = self.workdir / "metrics.jsonl"
        lines = metrics_log.read(path) if path.exists() else []
        done = max((line["epoch"] for line in lines), default=0.0) / config.epochs
        return f"{self.name} ({100 * done:.0f} %)"

    def record(self) -> records.Run:
        return {
            "name": self.entry.name,
            "seed": self.seed,
            "command": self.command,
            **records.summarize_run(self.workdir),
            "alone": self.alone,
        }

    def failure(self) -> str:
        log = _log(self.workdir)
        output = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        last = f"; its last line is: {output[-1]}" if output else ""
        return f"the run failed: {self.command}\n  {log} has its output{last}"


@contextlib.contextmanager
def _interrupt_at_exit(active: Sequence[_Training]) -> Iterator[None]:
    """Interrupts the active runs after an error in this process, a full disk say."""
    try:
        yield
    finally:
        for training in active:
            training.interrupt()


def runs_folder(folder: Path) -> Path:
    """Returns the folder of the runs of an experiment."""
    return Path("runs", folder.resolve().name)


def _log(workdir: Path) -> Path:
    return workdir.with_name(f"{workdir.name}.log")
