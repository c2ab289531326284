"""What a run ended with, to be held against another's, and the damage done to its checkpoints."""

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

OF_THE_PROCESS = (
    "run",
    "train_seconds",
    "cpu_seconds",
    "timed_steps",
    "rows_per_second",
    "tokens_per_second",
    "resumed_from",
    "compilations",
)
"""What result.json says of the process that wrote it, not of the training."""
HOW = ("truncated", "bit-flipped", "emptied", "deleted")


class Ending(NamedTuple):
    """What has to be the same, byte for byte.

    Attributes:
      parameters: arrays.
      optimizer: arrays.
      rest: of the state: the average, the best parameters, sums and counts.
      metrics: the file.
      result: what result.json says.
      files: the names of what is in the folder, so that nothing piles up.
    """

    parameters: list[bytes]
    optimizer: list[bytes]
    rest: list[bytes]
    metrics: bytes
    result: str
    files: set[str]


def ending(workdir: Path) -> Ending:
    """Returns what a finished run left.

    Raises:
      InputError: something is missing or damaged.
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
        result=encode_json({key: result[key] for key in result if key not in OF_THE_PROCESS}),
        files={
            path.name
            for path in (*workdir.iterdir(), *folder.checkpoints.iterdir())
            if not path.name.startswith("damaged-")
        },
    )


def same(ours: Ending, theirs: Ending) -> dict[str, bool]:
    """Returns for each part whether two runs ended with the same."""
    return {name: getattr(ours, name) == getattr(theirs, name) for name in Ending._fields}


def _template(folder: RunFolder) -> TrainState:
    _, config = folder.read_config()
    known = len(folder.read_vocabulary() or ())
    task = TASKS[config.task].from_config(config, known, folder.read_data())
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


def damage(draw: random.Random, path: Path, how: str) -> None:
    """Spoils a file: one of `HOW`."""
    content = bytearray(path.read_bytes())
    if how == "deleted":
        path.unlink()
    elif how == "bit-flipped" and content:
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        path.write_bytes(content)
    else:
        path.write_bytes(content[: len(content) // 2] if how == "truncated" else b"")


def snapshot(folder: Path) -> dict[str, bytes]:
    """Returns every file of a folder, so that a change would show."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}
