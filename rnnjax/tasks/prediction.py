"""The outputs of a network on a split, and the check of their scores."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from rnnjax.data.dataset import Split
from rnnjax.data.sequences import Sequences
from rnnjax.errors import InputError
from rnnjax.reporting.progress import Progress
from rnnjax.tasks.task import Task

EvaluateStep = Callable[[tuple[Any, Any], Any], tuple[Any, Any]]
"""A function `((params, carry), batch) -> (outputs, carry)`."""


def predict_split(
    task: Task, evaluate_step: EvaluateStep, params: Any, split: Split, name: str
) -> list[Any]:
    """Returns the outputs of the network on each batch of a split, by `Task.evaluate_batch`.

    Args:
      task: of the network.
      evaluate_step: as `rnnjax.training.step.make_evaluate_step` returns it.
      params: of the network.
      split: every example is evaluated once.
      name: of the progress bar.
    """
    outputs, carry = [], task.initial_carry(split.batch_size)
    with Progress(name, split.steps_per_epoch, unit=task.throughput_unit) as progress:
        for step in range(split.steps_per_epoch):
            batch = split.batch_at(0, step)
            batch_outputs, carry = evaluate_step((params, carry), batch)
            outputs.append(batch_outputs)
            progress.update(step + 1, examples=task.count_examples(batch.weights))
        return jax.device_get(outputs)


def check_classes(task: Task, split: Split, owner: str) -> None:
    """Raises InputError if a target is a class that the network has no output for.

    The loss of such a target would not be finite.

    Args:
      task: of the network.
      split: whose targets are checked, where they are whole numbers.
      owner: of the split, for the message: the file, or the data and the split.
    """
    targets = getattr(split, "targets", None)
    values = np.asarray(targets.values if isinstance(targets, Sequences) else targets)
    is_class = np.issubdtype(values.dtype, np.integer) and values.size > 0
    if not (task.num_classes and is_class) or values.max() < task.num_classes:
        return
    position = int(values.argmax())
    place = f"row {position // max(values[0].size, 1) + 1}"
    if isinstance(targets, Sequences):
        row = int(np.searchsorted(targets.offsets, position, side="right")) - 1
        place = f"row {row + 1}, step {position - int(targets.offsets[row]) + 1}"
    raise InputError(
        f"{owner}, {place}: the class is {values.flat[position]}, and the network has "
        f"{task.num_classes} outputs, for the classes 0 to {task.num_classes - 1}: mend the label, "
        "or give training rows of that class"
    )


def check_scores(scores: Mapping[str, Any], owner: str) -> None:
    """Raises InputError if a score is NaN or infinite."""
    non_finite = [
        f"{name} {value}"
        for name, value in scores.items()
        if isinstance(value, float) and not math.isfinite(value)
    ]
    if non_finite:
        raise InputError(
            f"{owner}: the scores are not finite ({', '.join(non_finite)}): the training has "
            "diverged, or the network overflows on this data. Train again in a new folder with a "
            "lower config.learning_rate, or with config.optimizer.clip_norm (1.0, say)"
        )
