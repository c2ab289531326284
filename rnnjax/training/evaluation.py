"""The answers of a network to every batch of a part of the data."""

from typing import Any

import jax

from rnnjax.data.dataset import Split
from rnnjax.reporting.progress import Progress
from rnnjax.tasks import Task
from rnnjax.training.step import Compiled


def predict_split(
    task: Task, evaluate_step: Compiled, params: Any, part: Split, name: str
) -> list[Any]:
    """Returns what the network says of each batch, as the task has it.

    Args:
      task: what is asked.
      evaluate_step: as `make_evaluate_step` returns it.
      params: of the network.
      part: every example is seen once.
      name: what the progress is called.
    """
    found, carry = [], task.begin(part.batch_size)
    with Progress(name, part.steps_per_epoch, unit=task.unit) as progress:
        for step in range(part.steps_per_epoch):
            batch = part.batch_at(0, step)
            answer, carry = evaluate_step((params, carry), batch)
            found.append(answer)
            progress.update(step + 1, examples=task.count(batch.weights))
        return jax.device_get(found)
