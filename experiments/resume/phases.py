"""Runs `python -m rnnjax.main`, and reports the phases of the run on a pipe.

    python experiments/resume/phases.py PIPE --config ... --workdir ...

The run is changed only in its bucket lengths, which are chosen as if compiling took no time,
because such a small corpus would have a single one.
"""

import functools
import os
import runpy
import sys
import time
from collections.abc import Callable
from typing import Any

START = "starting"


def main() -> None:
    """Removes the pipe from the command line, and runs."""
    pipe = int(sys.argv.pop(1))
    active: list[str] = []

    def report(phase: str) -> None:
        os.write(pipe, f"{time.monotonic()} {phase}\n".encode())

    def reporting(function: Callable[..., Any], phase: str) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapper(*args: Any, **options: Any) -> Any:
            active.append(phase)
            report(phase)
            try:
                return function(*args, **options)
            finally:
                active.pop()
                report(active[-1] if active else "in between")

        return wrapper

    for owner, name, phase in _functions():
        setattr(owner, name, reporting(getattr(owner, name), phase))
    runpy.run_module("rnnjax.main", run_name="__main__", alter_sys=True)


def _functions() -> list[tuple[Any, str, str]]:
    from rnnjax.data import labelled_text
    from rnnjax.reporting import atomic_files, metrics_log, run_files, run_report
    from rnnjax.tasks import ClassificationTask
    from rnnjax.training import evaluation, launch, loop, results, resume, start
    from rnnjax.training.checkpoint import Checkpoints

    labelled_text._COMPILE_COST = 0.0
    return [
        (ClassificationTask, "load", "reading the corpus"),
        (start, "make_replicates", "making the data"),
        (resume, "make_replicates", "making the data"),
        (Checkpoints, "restore", "restoring"),
        (launch, "run_loop", "training"),
        (loop, "predict_split", "validating"),
        (Checkpoints, "save", "saving"),
        (metrics_log.MetricsLog, "write", "writing metrics"),
        (evaluation, "predict_split", "judging"),
        (results, "write_report", "reporting"),
        *(
            (module, "write_text", "writing a file")
            for module in (atomic_files, metrics_log, run_report, run_files)
        ),
    ]


if __name__ == "__main__":
    main()
