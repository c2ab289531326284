"""Training what an experiment lacks, some runs side by side."""

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

from rnnjax import command
from rnnjax.config import Config
from rnnjax.errors import InputError
from rnnjax.experiment import records
from rnnjax.experiment.plan import Entry, Experiment
from rnnjax.interrupt import InterruptRequest
from rnnjax.reporting import metrics_log
from rnnjax.reporting.atomic_files import lock_file, open_no_follow
from rnnjax.reporting.progress import write_message

_SECONDS_BETWEEN_LOOKS = 0.05
_SECONDS_BETWEEN_LINES = 10.0


@contextlib.contextmanager
def sole(folder: Path) -> Iterator[None]:
    """Keeps other processes from running the same experiment.

    Raises:
      InputError: one does, or the folder cannot be written.
    """
    runs = folder_of_runs(folder)
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
    """Trains every entry with every seed that it has no run of, and records each that has ended.

    Args:
      experiment: what to run.
      configs: of its entries, by name.
      seeds: to train with.
      jobs: most runs side by side.

    Raises:
      InputError: a run failed.
      Terminated: SIGINT, SIGTERM or SIGHUP came; the runs at hand have been told to save and end.
    """
    known = {(run["name"], run["seed"]) for run in experiment.runs}
    waiting = [
        Planned(entry, seed, folder_of_runs(experiment.folder) / f"{entry.name}-seed{seed}")
        for entry in experiment.plan.entry
        for seed in seeds
        if (entry.name, seed) not in known
    ]
    train(experiment, configs, waiting, jobs, lambda run: records.append(experiment.records, run))


class Planned(NamedTuple):
    """A run to train: an entry with a seed, in a folder."""

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
    """Trains runs, and hands the record of each that has ended to a function.

    A run is the command that its record gives, in a process and a folder of its own, so that what
    was interrupted is resumed; what it prints goes to a file beside that folder. After a failure
    none is begun any more, and those at hand come to their end.

    Args:
      experiment: what the runs are of.
      configs: of its entries, by name.
      planned: the runs, in their order.
      jobs: most runs side by side.
      record: takes what is to be recorded.

    Raises:
      InputError: a run failed.
      Terminated: SIGINT, SIGTERM or SIGHUP came; the runs at hand have been told to save and end.
    """
    waiting, total = list(planned), len(planned)
    running: list[_Training] = []
    failed: list[_Training] = []
    said_at = time.monotonic()
    with InterruptRequest() as request, _none_left_behind(running):
        while running or (waiting and not failed and not request.signal):
            while waiting and len(running) < jobs and not failed and not request.signal:
                running.append(_Training.begin(experiment, waiting.pop(0)))
                write_message(f"{running[-1].name}: begun, {total - len(waiting)} of {total}")
            for each in running:
                each.alone = each.alone and len(running) == 1
                if request.signal:
                    each.interrupt()
            time.sleep(_SECONDS_BETWEEN_LOOKS)
            for each in [each for each in running if each.process.poll() is not None]:
                running.remove(each)
                if each.process.returncode == 0:
                    record(each.record())
                    left = len(waiting) + len(running)
                    write_message(f"{each.name}: ended, {left} of {total} are left")
                elif not each.interrupted:
                    failed.append(each)
            if running and time.monotonic() - said_at > _SECONDS_BETWEEN_LINES:
                shares = ", ".join(each.share(configs[each.entry.name]) for each in running)
                write_message(f"{shares}; {len(waiting)} of {total} wait")
                said_at = time.monotonic()
    if failed:
        raise InputError("\n".join(each.failure() for each in failed))
    if request.signal:
        write_message(f"{request.signal}: what was at hand is saved; the same command goes on")
        raise command.Terminated(signal.Signals[request.signal])


@dataclasses.dataclass
class _Training:
    """A run at hand.

    Attributes:
      alone: no other run was beside it, and this process saw it from the start to the end.
      interrupted: it was told to save and end.
    """

    entry: Entry
    seed: int
    workdir: Path
    typed: list[str]
    process: subprocess.Popen[bytes]
    alone: bool
    interrupted: bool = False

    @classmethod
    def begin(cls, experiment: Experiment, planned: Planned) -> "_Training":
        entry, seed, workdir = planned
        typed = experiment.typed(entry, f"--config.seed={seed}", f"--workdir={workdir}")
        alone = not workdir.exists()
        workdir.parent.mkdir(parents=True, exist_ok=True)
        with open(_log(workdir), "ab", opener=open_no_follow) as log:
            process = subprocess.Popen(
                [sys.executable, *typed],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                process_group=0,  # Ctrl-C comes to this process alone, which passes it on once
            )
        return cls(entry, seed, workdir, typed, process, alone)

    @property
    def name(self) -> str:
        return f"{self.entry.name}, seed {self.seed}"

    @property
    def command(self) -> str:
        return shlex.join(["python", *self.typed])

    def interrupt(self) -> None:
        """Tells the run to save and end, once: a second time would kill it."""
        if not self.interrupted:
            self.process.terminate()
            self.interrupted = True

    def share(self, config: Config) -> str:
        """Returns in words how far it is."""
        path = self.workdir / "metrics.jsonl"
        known = metrics_log.read(path) if path.exists() else []
        done = max((line["epoch"] for line in known), default=0.0) / config.epochs
        return f"{self.name} ({100 * done:.0f} %)"

    def record(self) -> records.Run:
        found = records.of_folder(self.workdir)
        named = {"name": self.entry.name, "seed": self.seed, "command": self.command}
        return {**named, **found, "alone": self.alone}

    def failure(self) -> str:
        log = _log(self.workdir)
        said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        last = f"; at last it said: {said[-1]}" if said else ""
        return f"the run failed: {self.command}\n  {log} has what it printed{last}"


@contextlib.contextmanager
def _none_left_behind(running: Sequence[_Training]) -> Iterator[None]:
    """Has the runs at hand save and end if something goes wrong here, a full disk say."""
    try:
        yield
    finally:
        for each in running:
            each.interrupt()


def folder_of_runs(folder: Path) -> Path:
    """Returns the folder that holds the runs of an experiment."""
    return Path("runs", folder.resolve().name)


def _log(workdir: Path) -> Path:
    return workdir.with_name(f"{workdir.name}.log")
