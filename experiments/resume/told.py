"""Runs `python -m rnnjax.main`, and tells on a pipe what it is about at each moment.

    python experiments/resume/told.py PIPE --config ... --workdir ...

Whoever kills it then knows what it was killed in. All that is changed in the run is that padded
lengths are chosen as if compiling took no time, or so small a corpus would have but one.
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
    """Takes the pipe off the command line, and runs."""
    pipe = int(sys.argv.pop(1))
    within: list[str] = []

    def tell(phase: str) -> None:
        os.write(pipe, f"{time.monotonic()} {phase}\n".encode())

    def told(function: Callable[..., Any], phase: str) -> Callable[..., Any]:
        @functools.wraps(function)
        def telling(*args: Any, **options: Any) -> Any:
            within.append(phase)
            tell(phase)
            try:
                return function(*args, **options)
            finally:
                within.pop()
                tell(within[-1] if within else "in between")

        return telling

    for owner, name, phase in _functions():
        setattr(owner, name, told(getattr(owner, name), phase))
    runpy.run_module("rnnjax.main", run_name="__main__", alter_sys=True)


def _functions() -> list[tuple[Any, str, str]]:
    from rnnjax.data import labelled_text
    from rnnjax.reporting import atomic_files, metrics_log, run_files, run_report
    from rnnjax.tasks import ClassificationTask
    from rnnjax.training import evaluation, launch, loop, results, resume, start
    from rnnjax.training.checkpoint import Checkpoints

    labelled_text._COMPILING = 0.0
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
