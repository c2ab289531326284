"""Trials of trainings of two processes, one of which is killed."""

import functools
import multiprocessing
import os
import shutil
import signal
import socket
from pathlib import Path
from random import Random
from typing import Any

import forks
from disturbed_processes import FLAGS
from forks import Moment, ProcessResult
from verdicts import Outcome, difference
from workspace import Workspace, summarize_run

SECONDS_UNTIL_ENDED = 60.0
"""Most seconds from the death of a process to the end of the other one."""
START_TIMEOUT = 20
"""Seconds that a process waits for the other one at the start."""
_FORK = multiprocessing.get_context("fork")


class Pairs:
    """Trainings of two processes, and the summary that the disturbed ones must reach.

    Attributes:
      seconds: duration of an undisturbed training.
      expected: its summary.
    """

    def __init__(self, workspace: Workspace):
        """Trains undisturbed."""
        self._folder, self._news = workspace.folder / "pairs", workspace.news
        self.prepare_folder()
        ended = self.train()
        if [process.status for process in ended] != [0, 0]:
            raise RuntimeError(f"an undisturbed run failed: {[*map(str, ended)]}")
        self.seconds = max(process.seconds for process in ended)
        self.expected = self.summarize()

    def prepare_folder(self) -> None:
        """Creates the empty folder of a run."""
        shutil.rmtree(self._folder / "run", ignore_errors=True)
        for name in ("0", "1"):
            (self._folder / name).mkdir(parents=True, exist_ok=True)

    def train(self, victim: int = 0, delay: float = 0.0) -> list[ProcessResult]:
        """Runs both processes to their ends, and kills one of them after some seconds, if any."""
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        flags = [
            *FLAGS,
            f"--config.data.dir={self._news}",
            f"--workdir={self._folder / 'run'}",
            "--distributed",
            f"--coordinator=127.0.0.1:{port}",
            "--processes=2",
            f"--start_timeout={START_TIMEOUT}",
        ]
        kills = [
            (Moment(0, delay), [signal.SIGKILL]) if delay and index == victim else None
            for index in range(2)
        ]
        with _FORK.Pool(2, _use_cache, [self._folder / "cache"]) as pool:
            return pool.starmap(
                _train,
                [
                    ([*flags, f"--process={index}"], self._folder / str(index), kill)
                    for index, kill in enumerate(kills)
                ],
                chunksize=1,
            )

    def summarize(self) -> dict[str, Any]:
        """Returns the summary of the run, from a process of its own."""
        with _FORK.Pool(1, _use_cache, [self._folder / "cache"]) as pool:
            return pool.apply(summarize_run, [self._folder / "run"])


def _use_cache(folder: Path) -> None:
    os.environ["RNNJAX_CACHE"] = str(folder)


def _train(flags: list[str], folder: Path, kill: Any) -> ProcessResult:
    return forks.run("rnnjax.main", flags, folder, kill=kill)


@functools.lru_cache(1)
def _shared_pairs(workspace: Workspace) -> Pairs:
    return Pairs(workspace)


def kill_one_of_two(workspace: Workspace, rng: Random, fault: str = "") -> Outcome:
    """Kills one of two processes at any time, and repeats the command of both."""
    pairs, victim = _shared_pairs(workspace), rng.randrange(2)
    pairs.prepare_folder()
    delay = 1e-4 + rng.random() * pairs.seconds
    ended = pairs.train(victim, delay)
    survivor, label = ended[1 - victim], fault or f"process {victim} of two"
    message = f"killed after {delay:.1f} s, other ended with {survivor.status}: "
    message += survivor.err[-1_000:]
    if survivor.status is None or survivor.seconds > delay + SECONDS_UNTIL_ENDED:
        return Outcome(label, "hang", message)
    if survivor.has_traceback:
        return Outcome(label, "traceback", message)
    if survivor.status:
        reasons = f"process {victim} on ", "the processes did not all come"
        if survivor.status != 2 or not any(reason in survivor.err for reason in reasons):
            return Outcome(label, "unclear", message)
    elif ended[victim].status == 0:
        label = "ended before it could be killed"
    again = pairs.train()
    if [process.status for process in again] != [0, 0]:
        return Outcome(
            label, "lost", f"{message} again: {again[0].err[-800:]}{again[1].err[-800:]}"
        )
    summary = pairs.summarize()
    if summary != pairs.expected:
        return Outcome(label, "different", f"{message} {difference(summary, pairs.expected)}")
    return Outcome(label, "identical", message)
