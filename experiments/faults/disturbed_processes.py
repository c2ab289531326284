"""Trainings that are killed, signalled, cut off from their streams, or kept from writing."""

import errno
import functools
import os
import resource
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import forks
from forks import Ended, Failure, Moment
from mutations import Draw
from verdicts import Outcome, difference
from workspace import Workspace, ending

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


class Bench:
    """Undisturbed processes, and what all others must end with.

    Attributes:
      folder: of the trial at hand.
      expected: the ending of an undisturbed run.
    """

    def __init__(self, workspace: Workspace):
        """Trains undisturbed, with nothing prepared or compiled."""
        self._base = workspace.folder / "processes"
        self._news = workspace.news
        self.folder = self._base / "trial"
        shutil.rmtree(self._base, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self._undisturbed: dict[str, Ended] = {}
        self.expected = None
        self.undisturbed(BARE)
        shutil.copytree(self.folder / "cache", self._base / "cache")
        shutil.copytree(self.folder / "run", self._base / "finished")

    def undisturbed(self, origin: str) -> Ended:
        """Returns an undisturbed process, made at first use.

        Raises:
          RuntimeError: it fails, or ends otherwise than the others.
        """
        if origin not in self._undisturbed:
            self.begin(origin)
            ended = self._undisturbed[origin] = self.train()
            found = forks.ending(self.folder)
            self.expected = self.expected or found
            if ended.status != 0 or found != self.expected:
                raise RuntimeError(
                    f"an undisturbed run failed, or ended otherwise: {ended.status}, "
                    f"{difference(found, self.expected)}\n{ended.err}"
                )
        return self._undisturbed[origin]

    def _stop_half_way(self) -> None:
        paths = [path for _, path in self.undisturbed(NEW).events]
        event = next(number for number, path in enumerate(paths) if "checkpoints/8" in path)
        self.begin(NEW)
        self.train(kill=(Moment(event + 3, 0.0), [signal.SIGKILL]))
        shutil.copytree(self.folder / "run", self._base / "half")

    def begin(self, origin: str) -> None:
        """Makes the folder of a run that begins, or goes on from half way, or has ended."""
        if origin == HALF_WAY and not (self._base / "half").exists():
            self._stop_half_way()
        shutil.rmtree(self.folder)
        self.folder.mkdir()
        if origin != BARE:
            shutil.copytree(self._base / "cache", self.folder / "cache")
        if origin == HALF_WAY:
            shutil.copytree(self._base / "half", self.folder / "run")
        elif origin == "finished":
            shutil.copytree(self._base / "finished", self.folder / "run")

    def train(self, **options: Any) -> Ended:
        """Runs the training command in the trial's folder."""
        data = f"--config.data.dir={self._news}"
        flags = [*FLAGS, data, f"--workdir={self.folder / 'run'}"]
        return self.run("rnnjax.main", flags, after=lambda: ending(self.folder / "run"), **options)

    def run(self, module: str, arguments: list[str], **options: Any) -> Ended:
        """Runs a command with the caches of the trial."""
        before = options.pop("before", lambda: None)

        def prepare() -> None:
            os.environ["RNNJAX_CACHE"] = str(self.folder / "cache")
            before()

        return forks.run(module, arguments, self.folder, before=prepare, **options)

    def resumed(self, fault: str, message: str = "") -> Outcome:
        """Repeats the command of a run that was disturbed, and judges how it ends."""
        ended = self.train()
        if ended.status != 0:
            verdict = "traceback" if ended.has_traceback else "lost"
            verdict = "hang" if ended.status is None else verdict
            return Outcome(
                fault, verdict, f"{message} resumed: {ended.status}: {ended.err[-1500:]}"
            )
        return self.compared(fault, message)

    def compared(self, fault: str, message: str = "") -> Outcome:
        """Judges the ending that has just been written."""
        found = forks.ending(self.folder)
        if found != self.expected:
            return Outcome(fault, "different", f"{message} {difference(found, self.expected)}")
        return Outcome(fault, "identical", message)

    def moment(self, draw: Draw, origin: str) -> Moment:
        """Returns a moment: of each change of a file, or of each second, as likely as another."""
        ended = self.undisturbed(origin)
        times = [0.0, *(at for at, _ in ended.events), ended.seconds]
        if draw.random() < 0.4:
            return Moment(draw.randrange(1, len(times) - 1), 0.0)
        if draw.random() < 0.5:
            number = draw.randrange(len(times) - 1)
            return Moment(number, 1e-4 + draw.random() * (times[number + 1] - times[number]))
        second = draw.random() * ended.seconds
        number = max(place for place, at in enumerate(times) if at <= second)
        return Moment(number, 1e-4 + second - times[number])


@functools.lru_cache(1)
def bench(workspace: Workspace) -> Bench:
    """Returns the bench of a workspace, which is made once in a process."""
    return Bench(workspace)


def _origin(draw: Draw) -> str:
    return draw.choices([NEW, HALF_WAY, BARE], [12, 12, 1])[0]


def _place(ended: Ended, folder: Path) -> str:
    """Returns what a process was last about to write."""
    if not ended.events:
        return "before any file"
    parts = Path(ended.events[-1][1]).relative_to(folder).parts
    if parts and parts[0] == "cache":
        return f"cache {parts[1]}" if len(parts) > 1 else "cache"
    if len(parts) < 2:
        return "folder of the run"
    return "checkpoint" if parts[1] == "checkpoints" else parts[1].strip(".").rstrip("0123456789.")


def kill(workspace: Workspace, draw: Draw, fault: str = "") -> Outcome:
    """Kills a training with SIGKILL, and repeats the command."""
    own, origin = bench(workspace), _origin(draw)
    moment = own.moment(draw, origin)
    own.begin(origin)
    killed = own.train(kill=(moment, [signal.SIGKILL]))
    label = f"killed at: {_place(killed, own.folder)}"
    if killed.status == 0:  # it was faster than the undisturbed one
        return own.compared("ended before it could be killed")
    return own.resumed(label)


def signalled(workspace: Workspace, draw: Draw, fault: str = "") -> Outcome:
    """Sends a training a signal, or one it ignores, or two, and repeats the command."""
    own, origin = bench(workspace), draw.choice([NEW, HALF_WAY])
    moment = own.moment(draw, origin)
    kinds = ("SIGINT", "SIGTERM", "SIGHUP", "SIGHUP, ignored", "SIGINT twice")
    fault = fault or draw.choice(kinds)
    number = getattr(signal, fault[:7].rstrip(", "))
    ignored = fault.endswith("ignored")

    def before() -> None:
        if ignored:
            signal.signal(number, signal.SIG_IGN)

    own.begin(origin)
    ended = own.train(kill=(moment, [number] * (1 + fault.endswith("twice"))), before=before)
    message = f"{_place(ended, own.folder)}, status {ended.status}:"
    if ended.status is None:
        return Outcome(fault, "hang", message)
    if ended.has_traceback:
        return Outcome(fault, "traceback", f"{message} {ended.err[-1500:]}")
    if ended.status == 0:
        return own.compared(fault, message)
    begun = f"{own.folder}/run/checkpoints" in "".join(path for _, path in ended.events)
    if ignored or ended.status not in (128 + number, -number):
        return Outcome(fault, "lost", f"{message} {ended.err[-500:]}")
    if begun and ended.status < 0 and not fault.endswith("twice"):
        return Outcome(fault, "lost", f"{message} it was killed, and saved nothing")
    return own.resumed(fault, message)


def unwritable(workspace: Workspace, draw: Draw, fault: str = "") -> Outcome:
    """Lets writes of a training fail, and repeats the command on a disk that works."""
    own, origin = bench(workspace), draw.choice([NEW, HALF_WAY])
    fault = fault or draw.choice(
        ["change fails", "changes fail", "files are cut", "few descriptors"]
    )
    own.begin(origin)
    fail, before = None, _nothing
    number = draw.choice(forks.error_numbers())
    if fault.startswith("change"):
        event = draw.randrange(1, len(own.undisturbed(origin).events) + 1)
        fail = Failure(event, number, lasting=fault == "changes fail")
        label = f"{fault}: {errno.errorcode[number]}"
    elif fault == "files are cut":
        size = draw.choice([0, 50, 1_000, 4_096, 8_000, 20_000, 60_000])
        before, label = functools.partial(_limit, resource.RLIMIT_FSIZE, size), fault
    else:
        count = draw.randrange(12, 80)
        before, label = functools.partial(_limit, resource.RLIMIT_NOFILE, count), fault
    ended = own.train(fail=fail, before=before)
    message = f"{_place(ended, own.folder)}, status {ended.status}:"
    if ended.status is None:
        return Outcome(label, "hang", f"{message} {ended.err[-1500:]}")
    if ended.has_traceback:
        return Outcome(label, "traceback", f"{message} {ended.err[-1500:]}")
    if ended.status == 0:
        return own.compared(label, message)
    if ended.status != 2 or "error: " not in ended.err:
        return Outcome(label, "lost", f"{message} {ended.err[-1500:]}")
    return own.resumed(label, message)


def _nothing() -> None:
    pass


def _limit(kind: int, value: int) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(kind, (value, resource.getrlimit(kind)[1]))


def _pipe(count: int) -> int:
    """Returns the end of a pipe whose reader takes so many bytes and leaves; 0 if it has left."""
    reader, writer = os.pipe()
    if count and os.fork() == 0:
        os.close(writer)
        while count > 0 and (piece := os.read(reader, count)):
            count -= len(piece)
        os._exit(0)
    os.close(reader)
    return writer


def cut_off(workspace: Workspace, draw: Draw, fault: str = "") -> Outcome:
    """Runs a command with streams that are closed, full, or read by nobody."""
    own = bench(workspace)
    command = draw.choice(["main", "main", "predict", "evaluate"])
    numbers = draw.choice([(1,), (2,), (1, 2), (0,), (0, 1), (0, 1, 2)])
    kinds = ("closed", "full", "without a reader", "with a reader that leaves")
    fault = fault or draw.choice(kinds)
    streams: dict[int, int | None] = {}
    for number in numbers:
        if number == 0 or fault == "closed":
            streams[number] = None
        elif fault == "full":
            streams[number] = os.open("/dev/full", os.O_WRONLY)
        else:
            streams[number] = _pipe(draw.randrange(2_000) if "leaves" in fault else 0)
    own.begin("finished" if command != "main" else draw.choice([NEW, HALF_WAY]))
    label = f"{command}: {','.join(map(str, numbers))} {fault}"

    try:
        if command == "main":
            ended = own.train(streams=streams)
        else:
            arguments = [f"--workdir={own.folder / 'run'}"]
            asked = ["goal striker"] * draw.choice([1, 3000])
            if command == "evaluate":
                asked = [f"--data={workspace.news / 'test.csv'}"]
            ended = own.run(f"rnnjax.{command}", [*arguments, *asked], streams=streams)
    finally:
        for target in streams.values():
            if target is not None:
                os.close(target)
    message = f"status {ended.status}: {ended.err[-1500:]}"
    if ended.status is None:
        return Outcome(label, "hang", message)
    if ended.has_traceback:
        return Outcome(label, "traceback", message)
    if command == "main":
        if ended.status == 0 and forks.ending(own.folder) is None:
            return Outcome(label, "lost", message)
        return (
            own.compared(label, message) if ended.status == 0 else Outcome(label, "lost", message)
        )
    if ended.status == 0 and fault == "full" and 1 in numbers:
        return Outcome(label, "lost", f"what could not be written ended with {message}")
    return Outcome(label, "unchanged", message)


def has_no_device() -> bool:
    """Returns whether this process may fork: it has started no device."""
    bridge = sys.modules.get("jax._src.xla_bridge")
    return not (bridge and bridge.backends_are_initialized())
