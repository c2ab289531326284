"""Runs a training in a subprocess, and kills it at a moment."""

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

from phases import START

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
"""Flags of a run with everything that resuming could get wrong."""


class Mark(NamedTuple):
    """Start of a phase of a process.

    Attributes:
      at: seconds since the process was started.
      phase: name of the phase.
    """

    at: float
    phase: str


class Moment(NamedTuple):
    """Moment of a kill.

    Attributes:
      phase: name of the phase.
      number: occurrence of the phase, from 1.
      delay: seconds after its start.
    """

    phase: str
    number: int
    delay: float


class ProcessResult(NamedTuple):
    """Result of a process.

    Attributes:
      status: exit status; -9 after a kill.
      marks: phases of the process.
      seconds: duration.
      output: text of its two streams.
    """

    status: int
    marks: list[Mark]
    seconds: float
    output: str

    @property
    def killed(self) -> bool:
        """Whether it was killed before it had finished."""
        return self.status == -signal.SIGKILL


def run(
    workdir: Path, cache: Path, kill: Moment | None = None, flags: tuple[str, ...] = FLAGS
) -> ProcessResult:
    """Runs the training in a folder to its end or to a moment, with a cache for prepared data."""
    reader, writer = os.pipe()
    arguments = [str(HERE / "phases.py"), str(writer), *flags, f"--workdir={workdir}"]
    with tempfile.TemporaryFile() as streams, os.fdopen(reader) as pipe:
        start = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, *arguments],
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
        return ProcessResult(status, marks, seconds, streams.read().decode(errors="replace"))


def _follow(
    process: subprocess.Popen,
    pipe: Iterable[str],
    start: float,
    marks: list[Mark],
    kill: Moment | None,
) -> None:
    """Reads the phases of a process to its end, and kills it at the moment."""

    def append(mark: Mark) -> None:
        marks.append(mark)
        number = sum(previous.phase == mark.phase for previous in marks)
        if kill and (mark.phase, number) == (kill.phase, kill.number):
            time.sleep(kill.delay)
            process.kill()

    append(Mark(0.0, START))
    for line in pipe:
        at, phase = line.rstrip("\n").split(" ", 1)
        append(Mark(float(at) - start, phase))


def draw_moment(draw: random.Random, undisturbed: ProcessResult) -> Moment:
    """Draws a moment, with equal probability for each phase.

    Args:
      draw: random numbers.
      undisturbed: a complete run of the same kind.
    """
    phase = draw.choice(sorted({mark.phase for mark in undisturbed.marks}))
    ends = [*(mark.at for mark in undisturbed.marks[1:]), undisturbed.seconds]
    durations = [
        end - mark.at
        for mark, end in zip(undisturbed.marks, ends, strict=True)
        if mark.phase == phase
    ]
    index = draw.randrange(len(durations))
    return Moment(phase, index + 1, draw.random() * durations[index])
