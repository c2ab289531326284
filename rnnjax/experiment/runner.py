"""Trains the missing runs of an experiment, several in parallel."""

import contextlib
import dataclasses
import shlex
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rnnjax.cli.signals import Terminated
from rnnjax.config import Config
from rnnjax.errors import InputError
from rnnjax.experiment import records
from rnnjax.experiment.plan import Entry, Experiment
from rnnjax.experiment.workers import TrainingProcess, Workers
from rnnjax.interrupt import InterruptRequest
from rnnjax.reporting import metrics_log, run_files
from rnnjax.reporting.atomic_files import lock_file
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
    experiment: Experiment,
    configs: Mapping[str, Config],
    seeds: Sequence[int],
    workers: Workers,
) -> None:
    """Trains all entries with all seeds that have no record, and records finished runs.

    Args:
      experiment: with its records.
      configs: config of each entry by name.
      seeds: random seeds.
      workers: that run them.

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

    def record(training: Training) -> None:
        run = training.record()
        records.append(experiment.records, {**run, "claims": claims[run["name"]]})

    train(experiment, configs, waiting, len(waiting), workers, record)


class Planned(NamedTuple):
    """A run to train: entry, seed and folder."""

    entry: Entry
    seed: int
    workdir: Path


def train(
    experiment: Experiment,
    configs: Mapping[str, Config],
    planned: Iterable[Planned],
    total: int,
    workers: Workers,
    record: Callable[["Training"], None],
    is_hopeless: Callable[["Training"], bool] = lambda training: False,
) -> None:
    """Trains runs, and passes finished ones to a function.

    A run is the command in its record, in its own process and folder, so that interrupted runs are
    resumed; its output goes to a file beside that folder. After a failure no run is started any
    more, and the active ones finish.

    Args:
      experiment: experiment of the runs.
      configs: config of each entry by name.
      planned: the runs, in their order; each is taken when a worker is free.
      total: number of them.
      workers: that run them.
      record: takes a finished or stopped run, and raises InputError for one that failed.
      is_hopeless: whether a run is stopped before its end, asked now and then.

    Raises:
      InputError: a run failed.
      Terminated: after SIGINT, SIGTERM or SIGHUP, which were passed on to the active runs.
    """
    waiting, num_waiting = iter(planned), total
    active: list[Training] = []
    failures: list[InputError] = []
    reported_at = time.monotonic()
    with InterruptRequest() as request, _interrupt_at_exit(active):
        while True:
            while len(active) < workers.count and not failures and not request.signal:
                if (run := next(waiting, None)) is None:
                    break
                num_waiting -= 1
                active.append(Training.start(experiment, run, workers))
                write_message(f"{active[-1].name}: started, {total - num_waiting} of {total}")
            if not active:
                break
            for training in active:
                training.alone = training.alone and len(active) == 1
                if request.signal:
                    training.interrupt()
                elif not training.stopped and is_hopeless(training):
                    training.stop()
            time.sleep(_POLL_SECONDS)
            for training in [run for run in active if run.process.poll() is not None]:
                active.remove(training)
                if training.interrupted and not training.is_finished:
                    continue
                try:
                    record(training)
                except InputError as error:
                    failures.append(error)
                    continue
                left = num_waiting + len(active)
                write_message(f"{training.name}: ended, {left} of {total} are left")
            if active and time.monotonic() - reported_at > _REPORT_SECONDS:
                rows = [run.progress(configs[run.entry.name]) for run in active]
                write_message(f"{_format_progress(rows)}\n{num_waiting} of {total} wait")
                reported_at = time.monotonic()
    if failures:
        raise InputError("\n".join(map(str, failures)))
    if request.signal:
        write_message(f"{request.signal}: the active runs are saved; the same command resumes them")
        raise Terminated(signal.Signals[request.signal])


@dataclasses.dataclass
class Training:
    """A training in progress, or ended.

    Attributes:
      entry: that it trains.
      seed: of it.
      workdir: the folder of the run.
      arguments: of Python, which train.
      process: of the training.
      alone: whether no other run was active, from its start to its end.
      interrupted: whether a signal to this process was passed on.
      stopped: whether it was stopped before its end.
    """

    entry: Entry
    seed: int
    workdir: Path
    arguments: list[str]
    process: TrainingProcess
    alone: bool
    interrupted: bool = False
    stopped: bool = False

    @classmethod
    def start(cls, experiment: Experiment, planned: Planned, workers: Workers) -> "Training":
        """Starts a run."""
        entry, seed, workdir = planned
        flags = f"--config.seed={seed}", f"--workdir={workdir}"
        arguments = experiment.train_arguments(entry, *flags)
        alone = not workdir.exists()
        workdir.parent.mkdir(parents=True, exist_ok=True)
        process = workers.start(arguments, _log(workdir))
        return cls(entry, seed, workdir, arguments, process, alone)

    @property
    def name(self) -> str:
        """Entry and seed."""
        return f"{self.entry.name}, seed {self.seed}"

    @property
    def command(self) -> str:
        """The command, as typed in a shell."""
        return shlex.join(["python", *self.arguments])

    @property
    def is_finished(self) -> bool:
        """Whether it has ended with a result."""
        return self.process.poll() == 0

    def interrupt(self) -> None:
        """Sends SIGTERM once, which saves the run: a second one would kill it."""
        if not self.interrupted and not self.stopped:
            self.process.terminate()
        self.interrupted = True

    def stop(self) -> None:
        """Ends the run before its end, once."""
        if not self.interrupted and not self.stopped:
            self.process.terminate()
            self.stopped = True

    def progress(self, config: Config) -> tuple[str, str, str]:
        """Returns the name, the share of epochs that are done, and the last loss."""
        lines = self.metrics()
        done = max((line["epoch"] for line in lines), default=0.0) / config.epochs
        loss = lines[-1].get("loss") if lines else None
        described = "" if loss is None else f"{lines[-1]['split']} loss {loss:.3f}"
        return self.name, f"{100 * done:.0f} %", described

    def metrics(self) -> list[dict[str, Any]]:
        """Returns the lines of its metrics so far."""
        path = self.workdir / run_files.METRICS
        return metrics_log.read(path) if path.exists() else []

    def record(self) -> records.Run:
        """Returns the record of the run.

        Raises:
          InputError: it failed.
        """
        if not self.is_finished:
            raise InputError(self.failure())
        return {
            "name": self.entry.name,
            "seed": self.seed,
            "command": self.command,
            **records.summarize_run(self.workdir),
            "alone": self.alone,
        }

    def failure(self) -> str:
        """Returns the message of a run that failed, with its last line of output."""
        last = f"; its last line is: {line}" if (line := self.last_line()) else ""
        return f"the run failed: {self.command}\n  {_log(self.workdir)} has its output{last}"

    def last_line(self) -> str:
        """Returns the last line of its output; '' if there is none."""
        log = _log(self.workdir)
        output = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
        return (output.strip().splitlines() or [""])[-1]


def _format_progress(rows: Sequence[tuple[str, str, str]]) -> str:
    """Returns the progress of runs as a table."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        f"{name:<{widths[0]}}  {done:>{widths[1]}}  {loss}".rstrip() for name, done, loss in rows
    )


@contextlib.contextmanager
def _interrupt_at_exit(active: Sequence[Training]) -> Iterator[None]:
    """Interrupts the active runs after an error in this process, a full disk say.

    It waits until they are saved, so that the next command finds none of them running.
    """
    try:
        yield
    finally:
        for training in active:
            training.interrupt()
        if active:
            write_message(f"the active runs are saved: {', '.join(run.name for run in active)}")
        while any(training.process.poll() is None for training in active):
            time.sleep(_POLL_SECONDS)


def runs_folder(folder: Path) -> Path:
    """Returns the folder of the runs of an experiment."""
    return Path("runs", folder.resolve().name)


def _log(workdir: Path) -> Path:
    return workdir.with_name(f"{workdir.name}.log")
