"""Compares trained runs from Python."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rnnjax.errors import InputError
from rnnjax.reporting import run_groups
from rnnjax.tasks.trained_run import TrainedRun

if TYPE_CHECKING:
    from rnnjax.reporting.run_comparison import RunComparison

Runs = TrainedRun | str | os.PathLike[str] | Sequence[TrainedRun]
"""A trained run, runs of several seeds, or a name as `rnnjax compare` takes it."""


def compare_runs(*runs: Runs, metric: str = "test.accuracy") -> "RunComparison":
    """Compares a score of the first run, or runs of several seeds, with that of each other.

        print(rnnjax.compare_runs(lstm, gru))
        print(rnnjax.compare_runs([lstm_0, lstm_1], "runs/gru-seed*", metric="test.loss"))

    Fewer than five seeds give differences and no verdict. A notebook shows the result as a table.

    Args:
      *runs: two or more; each a trained run, a list of runs that differ in their seeds, a folder, a
        pattern of folders, or an experiment.
      metric: 'test.accuracy', 'validation.loss' and so on.

    Raises:
      InputError: there are no such runs, they are unfinished, or their scores are not of the same
        rows.
    """
    from rnnjax.reporting.run_comparison import compare_groups  # scipy.stats takes most of a second

    groups = []
    for number, entry in enumerate(runs, start=1):
        if isinstance(entry, (str, os.PathLike)):
            groups += run_groups.read_run_groups([os.fspath(entry)])
            continue
        members = [entry] if isinstance(entry, TrainedRun) else list(entry)
        if not members:
            raise InputError(
                f"runs: argument {number} is an empty list; expected runs of one config"
            )
        name = f"{number} {members[0].config.model.cell}"
        groups.append(run_groups.group_folders(name, [run.folder for run in members]))
    return compare_groups(groups, metric)
