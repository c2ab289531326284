"""Trials of trainings that are killed or signalled, or whose streams or writes fail."""

import errno
import functools
import os
import resource
import shutil
import signal
from pathlib import Path
from random import Random
from typing import Any

import forks
from forks import Moment, ProcessResult, WriteFailure
from verdicts import Outcome, difference
from workspace import Workspace, summarize_run

FLAGS = (
    "--config=configs/gru.py",
    "--config.seed=3",
    "--config.epochs=3",
    "--config.batch_size=16",
    "--config.learning_rate=0.02",
    "--config.log_every=3",
    "--config.evaluate_every=4",
    "--config.data.validation=0.2",
    "--config.data.vocabulary.size=40",
    "--config.model.features=8",
    "--config.model.embedding.features=6",
    "--config.model.dropout=0.2",
    "--config.averaging.decay=0.9",
    "--config.early_stopping.patience=9",
    "--config.checkpoint.every=4",
)
NEW, HALF_WAY, BARE = "new", "half way", "new, nothing prepared or compiled"


class Baseline:
    """Undisturbed processes, and the summary of a run that the disturbed ones must reach.

    Attributes:
      folder: of the current trial.
      expected: summary of an undisturbed run.
    """

    def __init__(self, workspace: Workspace):
        """Trains undisturbed, with nothing prepared or compiled."""
        self._base = workspace.folder / "processes"
        self._news = workspace.news
        self.folder = self._base / "trial"
        shutil.rmtree(self._base, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self._undisturbed: dict[str, ProcessResult] = {}
        self.expected = None
        self.undisturbed(BARE)
        shutil.copytree(self.folder / "cache", self._base / "cache")
        shutil.copytree(self.folder / "run", self._base / "finished")

    def undisturbed(self, origin: str) -> ProcessResult:
        """Returns an undisturbed process, run at first use.

        Raises:
          RuntimeError: it fails, or its summary differs from the first.
        """
        if origin not in self._undisturbed:
            self.prepare_folder(origin)
            result = self._undisturbed[origin] = self.train()
            summary = forks.read_summary(self.folder)
            self.expected = self.expected or summary
            if result.status != 0 or summary != self.expected:
                raise RuntimeError(
                    f"an undisturbed run failed, or ended otherwise: {result.status}, "
                    f"{difference(summary, self.expected)}\n{result.err}"
                )
        return self._undisturbed[origin]

    def _interrupt_half_way(self) -> None:
        paths = [path for _, path in self.undisturbed(NEW).events]
        event = next(number for number, path in enumerate(paths) if "checkpoints/8" in path)
        self.prepare_folder(NEW)
        self.train(kill=(Moment(event + 3, 0.0), [signal.SIGKILL]))
        shutil.copytree(self.folder / "run", self._base / "half")

    def prepare_folder(self, origin: str) -> None:
        """Creates the folder of a new, an interrupted or a finished run."""
        if origin == HALF_WAY and not (self._base / "half").exists():
            self._interrupt_half_way()
        shutil.rmtree(self.folder)
        self.folder.mkdir()
        if origin != BARE:
            shutil.copytree(self._base / "cache", self.folder / "cache")
        if origin == HALF_WAY:
            shutil.copytree(self._base / "half", self.folder / "run")
        elif origin == "finished":
            shutil.copytree(self._base / "finished", self.folder / "run")

    def train(self, **options: Any) -> ProcessResult:
        """Runs the training command in the trial's folder."""
        data = f"--config.data.dir={self._news}"
        flags = [*FLAGS, data, f"--workdir={self.folder / 'run'}"]
        return self.run(
            "rnnjax.main", flags, summarize=lambda: summarize_run(self.folder / "run"), **options
        )

    def run(self, module: str, arguments: list[str], **options: Any) -> ProcessResult:
        """Runs a command with the caches of the trial."""
        prepare = options.pop("prepare", lambda: None)

        def prepare_child() -> None:
            os.environ["RNNJAX_CACHE"] = str(self.folder / "cache")
            prepare()

        return forks.run(module, arguments, self.folder, prepare=prepare_child, **options)

    def resume(self, fault: str, message: str = "") -> Outcome:
        """Repeats the command of a disturbed run, and returns the verdict."""
        ended = self.train()
        if ended.status != 0:
            verdict = "traceback" if ended.has_traceback else "lost"
            verdict = "hang" if ended.status is None else verdict
            return Outcome(
                fault, verdict, f"{message} resumed: {ended.status}: {ended.err[-1500:]}"
            )
        return self.compare(fault, message)

    def compare(self, fault: str, message: str = "") -> Outcome:
        """Compares the summary of the last process with the expected one."""
        summary = forks.read_summary(self.folder)
        if summary != self.expected:
            return Outcome(fault, "different", f"{message} {difference(summary, self.expected)}")
        return Outcome(fault, "identical", message)

    def draw_moment(self, rng: Random, origin: str) -> Moment:
        """Draws a moment, uniformly over the changes of files or over time."""
        result = self.undisturbed(origin)
        times = [0.0, *(at for at, _ in result.events), result.seconds]
        if rng.random() < 0.4:
            return Moment(rng.randrange(1, len(times) - 1), 0.0)
        if rng.random() < 0.5:
            number = rng.randrange(len(times) - 1)
            return Moment(number, 1e-4 + rng.random() * (times[number + 1] - times[number]))
        second = rng.random() * result.seconds
        number = max(place for place, at in enumerate(times) if at <= second)
        return Moment(number, 1e-4 + second - times[number])


@functools.lru_cache(1)
def shared_baseline(workspace: Workspace) -> Baseline:
    """Returns the baseline of a workspace, created once in a process."""
    return Baseline(workspace)


def _origin(rng: Random) -> str:
    return rng.choices([NEW, HALF_WAY, BARE], [12, 12, 1])[0]


def _last_change(result: ProcessResult, folder: Path) -> str:
    """Returns the kind of the file that a process changed last."""
    if not result.events:
        return "before any file"
    parts = Path(result.events[-1][1]).relative_to(folder).parts
    if parts and parts[0] == "cache":
        return f"cache {parts[1]}" if len(parts) > 1 else "cache"
    if len(parts) < 2:
        return "folder of the run"
    return "checkpoint" if parts[1] == "checkpoints" else parts[1].strip(".").rstrip("0123456789.")


def kill(workspace: Workspace, rng: Random, fault: str = "") -> Outcome:
    """Kills a training with SIGKILL, and repeats the command."""
    baseline, origin = shared_baseline(workspace), _origin(rng)
    moment = baseline.draw_moment(rng, origin)
    baseline.prepare_folder(origin)
    result = baseline.train(kill=(moment, [signal.SIGKILL]))
    label = f"killed at: {_last_change(result, baseline.folder)}"
    if result.status == 0:  # faster than the undisturbed one
        return baseline.compare("ended before it could be killed")
    return baseline.resume(label)


def send_signal(workspace: Workspace, rng: Random, fault: str = "") -> Outcome:
    """Sends a training a signal, or one it ignores, or two, and repeats the command."""
    baseline, origin = shared_baseline(workspace), rng.choice([NEW, HALF_WAY])
    moment = baseline.draw_moment(rng, origin)
    kinds = ("SIGINT", "SIGTERM", "SIGHUP", "SIGHUP, ignored", "SIGINT twice")
    fault = fault or rng.choice(kinds)
    number = getattr(signal, fault[:7].rstrip(", "))
    ignored = fault.endswith("ignored")

    def prepare() -> None:
        if ignored:
            signal.signal(number, signal.SIG_IGN)

    baseline.prepare_folder(origin)
    result = baseline.train(
        kill=(moment, [number] * (1 + fault.endswith("twice"))), prepare=prepare
    )
    message = f"{_last_change(result, baseline.folder)}, status {result.status}:"
    if result.status is None:
        return Outcome(fault, "hang", message)
    if result.has_traceback:
        return Outcome(fault, "traceback", f"{message} {result.err[-1500:]}")
    if result.status == 0:
        return baseline.compare(fault, message)
    has_checkpoint = f"{baseline.folder}/run/checkpoints" in "".join(
        path for _, path in result.events
    )
    if ignored or result.status not in (128 + number, -number):
        return Outcome(fault, "lost", f"{message} {result.err[-500:]}")
    if has_checkpoint and result.status < 0 and not fault.endswith("twice"):
        return Outcome(fault, "lost", f"{message} it was killed, and saved nothing")
    return baseline.resume(fault, message)


def fail_writes(workspace: Workspace, rng: Random, fault: str = "") -> Outcome:
    """Makes writes of a training fail, and repeats the command on a working disk."""
    baseline, origin = shared_baseline(workspace), rng.choice([NEW, HALF_WAY])
    fault = fault or rng.choice(
        ["change fails", "changes fail", "files are cut", "few descriptors"]
    )
    baseline.prepare_folder(origin)
    fail, prepare = None, _do_nothing
    number = rng.choice(forks.error_numbers())
    if fault.startswith("change"):
        event = rng.randrange(1, len(baseline.undisturbed(origin).events) + 1)
        fail = WriteFailure(event, number, lasting=fault == "changes fail")
        label = f"{fault}: {errno.errorcode[number]}"
    elif fault == "files are cut":
        size = rng.choice([0, 50, 1_000, 4_096, 8_000, 20_000, 60_000])
        prepare, label = functools.partial(_cut_files, size), fault
    else:
        count = rng.randrange(12, 80)
        prepare, label = functools.partial(_limit, resource.RLIMIT_NOFILE, count), fault
    result = baseline.train(fail=fail, prepare=prepare)
    message = f"{_last_change(result, baseline.folder)}, status {result.status}:"
    if result.status is None:
        return Outcome(label, "hang", f"{message} {result.err[-1500:]}")
    if result.has_traceback:
        return Outcome(label, "traceback", f"{message} {result.err[-1500:]}")
    if result.status == 0:
        return baseline.compare(label, message)
    if result.status != 2 or "error: " not in result.err:
        return Outcome(label, "lost", f"{message} {result.err[-1500:]}")
    return baseline.resume(label, message)


def _do_nothing() -> None:
    pass


def _cut_files(size: int) -> None:
    """Limits the size of files, but not of the two that keep the output of the process."""
    for number in (1, 2):
        writer = _relay(number)
        os.dup2(writer, number)
        os.close(writer)
    _limit(resource.RLIMIT_FSIZE, size)


def _relay(number: int) -> int:
    """Returns the write end of a pipe that a process, not limited, copies to a descriptor.

    It also has the pipe of the events open, so that these end after the last of the output.
    """
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.close(writer)
        while piece := os.read(reader, 2**16):
            os.write(number, piece)
        os._exit(0)
    os.close(reader)
    return writer


def _limit(kind: int, value: int) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(kind, (value, resource.getrlimit(kind)[1]))


def _pipe(count: int) -> int:
    """Returns the write end of a pipe whose reader closes it after `count` bytes."""
    reader, writer = os.pipe()
    if count and os.fork() == 0:
        os.close(writer)
        while count > 0 and (piece := os.read(reader, count)):
            count -= len(piece)
        os._exit(0)
    os.close(reader)
    return writer


def break_streams(workspace: Workspace, rng: Random, fault: str = "") -> Outcome:
    """Runs a command whose streams are closed, full, or have no reader."""
    baseline = shared_baseline(workspace)
    command = rng.choice(["main", "main", "predict", "evaluate"])
    numbers = rng.choice([(1,), (2,), (1, 2), (0,), (0, 1), (0, 1, 2)])
    kinds = ("closed", "full", "without a reader", "with a reader that leaves")
    fault = fault or rng.choice(kinds)
    streams: dict[int, int | None] = {}
    for number in numbers:
        if number == 0 or fault == "closed":
            streams[number] = None
        elif fault == "full":
            streams[number] = os.open("/dev/full", os.O_WRONLY)
        else:
            streams[number] = _pipe(rng.randrange(2_000) if "leaves" in fault else 0)
    baseline.prepare_folder("finished" if command != "main" else rng.choice([NEW, HALF_WAY]))
    label = f"{command}: {','.join(map(str, numbers))} {fault}"

    try:
        if command == "main":
            result = baseline.train(streams=streams)
        else:
            arguments = [f"--workdir={baseline.folder / 'run'}"]
            query = ["goal striker"] * rng.choice([1, 3000])
            if command == "evaluate":
                query = [f"--data={workspace.news / 'test.csv'}"]
            result = baseline.run(f"rnnjax.{command}", [*arguments, *query], streams=streams)
    finally:
        for target in streams.values():
            if target is not None:
                os.close(target)
    message = f"status {result.status}: {result.err[-1500:]}"
    if result.status is None:
        return Outcome(label, "hang", message)
    if result.has_traceback:
        return Outcome(label, "traceback", message)
    if command == "main":
        if result.status == 0 and forks.read_summary(baseline.folder) is None:
            return Outcome(label, "lost", message)
        return (
            baseline.compare(label, message)
            if result.status == 0
            else Outcome(label, "lost", message)
        )
    if result.status == 0 and fault == "full" and 1 in numbers:
        return Outcome(label, "lost", f"lost output ended with {message}")
    return Outcome(label, "unchanged", message)
