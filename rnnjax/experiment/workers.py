"""Workers of an experiment: processes of this machine that train its runs."""

import dataclasses
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from rnnjax.reporting.atomic_files import open_no_follow


class TrainingProcess(Protocol):
    """A process that trains a run."""

    def poll(self) -> int | None:
        """Returns the exit status; None while it runs."""
        ...

    def terminate(self) -> None:
        """Sends SIGTERM, which saves the run."""
        ...


class Workers(Protocol):
    """Workers that train runs.

    Attributes:
      count: most runs at a time.
    """

    @property
    def count(self) -> int:
        """Most runs at a time."""
        ...

    def start(self, arguments: Sequence[str], log: Path) -> TrainingProcess:
        """Starts a training.

        Args:
          arguments: of Python.
          log: a file to which its output is appended.
        """
        ...


@dataclasses.dataclass(frozen=True)
class LocalWorkers:
    """Processes of this machine.

    Attributes:
      count: most runs at a time.
    """

    count: int = 1

    def start(self, arguments: Sequence[str], log: Path) -> TrainingProcess:
        """Starts a training, as for `Workers`."""
        with open(log, "ab", opener=open_no_follow) as output:
            return subprocess.Popen(
                [sys.executable, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                process_group=0,  # Ctrl-C reaches this process alone, which passes it on
            )
