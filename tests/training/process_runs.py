"""One of the processes of the runs that `test_processes` starts and looks at."""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np

from rnnjax import config as config_lib
from rnnjax.cli.launcher import run_process
from rnnjax.training import launch, loop, sharding
from rnnjax.training.global_arrays import to_host
from rnnjax.training.processes import join_processes

from .small_runs import train


def flatten(tree: Any) -> dict[str, np.ndarray]:
    """Returns the arrays of a pytree by their paths."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    keystr = jax.tree_util.keystr
    return {keystr(path, simple=True, separator="/"): to_host(leaf) for path, leaf in leaves}


def train_and_record(values: dict[str, Any], workdir: Path, index: int) -> None:
    """Trains a run, and writes the last state as this process has it."""
    states = []
    run_loop = launch.run_loop

    def recording(*arguments: Any) -> Any:
        states.append(run_loop(*arguments))
        return states[-1]

    launch.run_loop = recording
    try:
        train(config_lib.parse(values), workdir)
    finally:
        launch.run_loop = run_loop
    np.savez(workdir.with_name(f"{workdir.name}-{index}.npz"), **flatten(states[0]))


def die_at(step: int) -> None:
    """Kills this process when it makes the batch of a step."""
    batch_group_at = loop.batch_group_at

    def dying(replicates: Any, step_reached: int, limit: int) -> Any:
        if step_reached >= step:
            os.kill(os.getpid(), signal.SIGKILL)
        return batch_group_at(replicates, step_reached, limit)

    loop.batch_group_at = dying


def shift_parameters() -> None:
    """Gives this process other parameters than the first one has."""
    place = launch.place

    def shifted(state: Any, shardings: Any) -> Any:
        params = jax.tree.map(lambda leaf: leaf + np.float32(1e-3), state.params)
        return place(state.replace(params=params), shardings)

    launch.place = shifted


def main() -> int:
    """Trains the runs of a file one after the other."""
    folder, port, index = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    sharding._LARGE = 200
    with join_processes(f"127.0.0.1:{port}", 2, index, 60):
        for run in json.loads((folder / f"{port}.json").read_text(encoding="utf-8")):
            values = run["config"]
            if index == 1 and run["fault"] == "death":
                die_at(3)
            if index == 1 and run["fault"] == "other parameters":
                shift_parameters()
            if index == 1 and run["fault"] == "other config":
                values = {**values, "seed": 4}
            train_and_record(values, folder / run["name"], index)
    return 0


if __name__ == "__main__":
    run_process(main)
