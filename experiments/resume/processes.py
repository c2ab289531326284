"""A run in a process of its own, killed at a moment that is given."""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from told import START

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
FLAGS = (
    "--config=configs/gru.py",
    "--config.seed=3",
    "--config.epochs=40",
    "--config.batch_size=16",
    "--config.learning_rate=0.05",
    "--config.schedule=cosine",
    "--config.warmup_steps=5",
    "--config.steps_per_call=3",
    "--config.log_every=7",
    "--config.evaluate_every=10",
    "--config.data.corpus=docstrings",
    "--config.data.take=320",
    "--config.data.max_tokens=40",
    "--config.data.validation=0.2",
    "--config.data.buckets=3",
    "--config.data.vocabulary.size=500",
    "--config.model.dropout=0.3",
    "--config.optimizer.clip_norm=1.0",
    "--config.averaging.decay=0.95",
    "--config.early_stopping.patience=3",
    "--config.checkpoint.every=6",
)
"""Of a run that has all that a resumed run could get wrong."""


class Mark(NamedTuple):
    """A phase of a process begins.

    Attributes:
      at: seconds since the process was started.
      phase: what begins.
    """

    at: float
    phase: str


class Moment(NamedTuple):
    """When to kill.

    Attributes:
      phase: in which.
      number: the how-manieth of the phases of that name it is, from 1.
      after: seconds after its beginning.
    """

    phase: str
    number: int
    after: float


class Ended(NamedTuple):
    """What became of a process.

    Attributes:
      status: that it exited with; -9 if it was killed.
      marks: its phases.
      seconds: it lived for.
      said: on its two streams.
    """

    status: int
    marks: list[Mark]
    seconds: float
    said: str

    @property
    def killed(self) -> bool:
        """Whether it was killed before it had ended by itself."""
        return self.status == -signal.SIGKILL


def run(
    workdir: Path, cache: Path, kill: Moment | None = None, flags: tuple[str, ...] = FLAGS
) -> Ended:
    """Runs the command in a folder to its end or to a moment; what it prepares goes to a cache."""
    reader, writer = os.pipe()
    told = [str(HERE / "told.py"), str(writer), *flags, f"--workdir={workdir}"]
    with tempfile.TemporaryFile() as streams, os.fdopen(reader) as pipe:
        start = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, *told],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "RNNJAX_CACHE": str(cache)},
            stdin=subprocess.DEVNULL,
            stdout=streams,
            stderr=streams,
            pass_fds=[writer],
        )
        os.close(writer)
        marks: list[Mark] = []
        try:
            _follow(process, pipe, start, marks, kill)
        finally:
            process.kill()
            status = process.wait()
        seconds = time.monotonic() - start
        streams.seek(0)
        return Ended(status, marks, seconds, streams.read().decode(errors="replace"))


def _follow(
    process: subprocess.Popen,
    pipe: Iterable[str],
    start: float,
    marks: list[Mark],
    kill: Moment | None,
) -> None:
    """Reads the phases of a process to its end, and kills it when the moment has come."""

    def arrive(mark: Mark) -> None:
        marks.append(mark)
        number = sum(each.phase == mark.phase for each in marks)
        if kill and (mark.phase, number) == (kill.phase, kill.number):
            time.sleep(kill.after)
            process.kill()

    arrive(Mark(0.0, START))
    for line in pipe:
        at, phase = line.rstrip("\n").split(" ", 1)
        arrive(Mark(float(at) - start, phase))


def moment_of(draw: random.Random, ended: Ended) -> Moment:
    """Returns a moment in the life of a run, of every phase as likely, drawn from one of its like.

    Args:
      draw: draws it.
      ended: such a run, to its end.
    """
    phase = draw.choice(sorted({mark.phase for mark in ended.marks}))
    ends = [*(mark.at for mark in ended.marks[1:]), ended.seconds]
    lasted = [
        end - mark.at for mark, end in zip(ended.marks, ends, strict=True) if mark.phase == phase
    ]
    place = draw.randrange(len(lasted))
    return Moment(phase, place + 1, draw.random() * lasted[place])
