"""Final states of runs, compared byte for byte, and damage to checkpoints."""

import random
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from rnnjax.errors import InputError
from rnnjax.reporting.atomic_files import encode_json
from rnnjax.tasks import TASKS
from rnnjax.training.optimizer import make_optimizer
from rnnjax.training.run_folder import RunFolder
from rnnjax.training.state import TrainState, init_state

PROCESS_KEYS = (
    "run",
    "train_seconds",
    "cpu_seconds",
    "timed_steps",
    "rows_per_second",
    "tokens_per_second",
    "resumed_from",
    "compilations",
)
"""Keys of result.json that depend on the process, not on the training."""
DAMAGES = ("truncated", "bit-flipped", "emptied", "deleted")


class Ending(NamedTuple):
    """Final state of a run.

    Attributes:
      parameters: bytes of the arrays.
      optimizer: bytes of the arrays.
      rest: bytes of the rest of the state: average, best parameters, sums and counts.
      metrics: content of metrics.jsonl.
      result: values of result.json.
      files: names of the files in the folder.
    """

    parameters: list[bytes]
    optimizer: list[bytes]
    rest: list[bytes]
    metrics: bytes
    result: str
    files: set[str]


def read_ending(workdir: Path) -> Ending:
    """Reads the final state of a finished run.

    Raises:
      InputError: a file is missing or damaged.
    """
    folder = RunFolder(workdir)
    result = folder.read_result()
    restored = folder.open_checkpoints().restore(_template(folder))
    if restored is None:
        raise InputError(f"{workdir}: has no checkpoint")
    state = restored[1]
    return Ending(
        parameters=_bytes(state.params),
        optimizer=_bytes(state.opt_state),
        rest=_bytes(state.replace(params=None, opt_state=None)),
        metrics=folder.metrics.read_bytes(),
        result=encode_json({key: result[key] for key in result if key not in PROCESS_KEYS}),
        files={
            path.name
            for path in (*workdir.iterdir(), *folder.checkpoints.iterdir())
            if not path.name.startswith("damaged-")
        },
    )


def compare_endings(actual: Ending, expected: Ending) -> dict[str, bool]:
    """Returns whether each part of two final states is equal."""
    return {name: getattr(actual, name) == getattr(expected, name) for name in Ending._fields}


def _template(folder: RunFolder) -> TrainState:
    _, config = folder.read_config()
    vocab_size = len(folder.read_vocabulary() or ())
    task = TASKS[config.task].from_config(config, vocab_size, folder.read_data())
    optimizer = make_optimizer(config.optimizer, optax.constant_schedule(0.0), task.trainable_mask)
    return init_state(
        task,
        optimizer,
        [config.seed],
        batch_size=config.batch_size,
        track_average=bool(config.averaging.decay),
        track_best=bool(config.early_stopping.patience),
    ).shapes


def _bytes(tree: Any) -> list[bytes]:
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)]


def damage(draw: random.Random, path: Path, kind: str) -> None:
    """Damages a file in one of the ways of `DAMAGES`."""
    content = bytearray(path.read_bytes())
    if kind == "deleted":
        path.unlink()
    elif kind == "bit-flipped" and content:
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        path.write_bytes(content)
    else:
        path.write_bytes(content[: len(content) // 2] if kind == "truncated" else b"")


def snapshot(folder: Path) -> dict[str, bytes]:
    """Returns the contents of all files of a folder."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}
