"""One of the processes of the runs that `test_processes` starts and looks at."""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import numpy as np

from rnnjax import config as config_lib
from rnnjax.cli.launcher import run_process
from rnnjax.errors import InputError
from rnnjax.reporting.progress import write_message
from rnnjax.training import launch, loop, sharding
from rnnjax.training.global_arrays import place, to_host
from rnnjax.training.loop import run_loop
from rnnjax.training.processes import join_processes
from rnnjax.training.replicates import batch_group_at

from .small_runs import train


def flatten(tree: Any) -> dict[str, Any]:
    """Returns the arrays of a pytree by their paths."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    keystr = jax.tree_util.keystr
    return {keystr(path, simple=True, separator="/"): to_host(leaf) for path, leaf in leaves}


def train_and_record(values: dict[str, Any], workdir: Path, index: int) -> None:
    """Trains a run, and writes the last state as this process has it."""
    states = []

    def recording(*arguments: Any) -> Any:
        states.append(run_loop(*arguments))
        return states[-1]

    with mock.patch.object(launch, "run_loop", recording):
        train(config_lib.parse(values), workdir)
    np.savez(workdir.with_name(f"{workdir.name}-{index}.npz"), **flatten(states[0]))


def die(replicates: Any, step: int, limit: int) -> Any:
    """Returns batches as `batch_group_at`, or kills this process after three steps."""
    if step >= 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return batch_group_at(replicates, step, limit)


def place_shifted(state: Any, shardings: Any) -> Any:
    """Places other parameters than the first process has."""
    params = jax.tree.map(lambda leaf: leaf + np.float32(1e-3), state.params)
    return place(state.replace(params=params), shardings)


def main() -> int:
    """Trains the runs of a file one after the other, with faults in the second process."""
    folder, port, index = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    with (
        join_processes(f"127.0.0.1:{port}", 2, index, 60),
        mock.patch.object(sharding, "_LARGE", 200),
    ):
        for run in json.loads((folder / f"{port}.json").read_text(encoding="utf-8")):
            fault, values = run["fault"] if index else "", run["config"]
            if fault == "other config":
                values = {**values, "seed": 4}
            make_batches = die if fault == "death" else batch_group_at
            put = place_shifted if fault == "other parameters" else place
            with (
                mock.patch.object(loop, "batch_group_at", make_batches),
                mock.patch.object(launch, "place", put),
            ):
                try:
                    train_and_record(values, folder / run["name"], index)
                except InputError as error:
                    if not run["fault"]:
                        raise
                    write_message(str(error), is_error=True)  # both processes refuse
    return 0


if __name__ == "__main__":
    run_process(main)
