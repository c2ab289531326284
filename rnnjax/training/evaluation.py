"""The answers of a network to every example of a part of the data."""

from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from rnnjax.data.batches import Batches
from rnnjax.reporting.progress import Progress
from rnnjax.training.step import Compiled


def answers(
    evaluate_step: Compiled, params: Any, batches: Batches, name: str
) -> Float[np.ndarray, "examples classes"]:
    """Returns the log-probability of each class, a row for each example in its own order.

    Args:
      evaluate_step: as `make_evaluate_step` returns it.
      params: of the network.
      batches: every example is seen once.
      name: what the progress is called.
    """
    pieces, rows = [], []
    with Progress(name, batches.steps_per_epoch) as progress:
        for step in range(batches.steps_per_epoch):
            rows.append(batches.rows_at(0, step))
            piece = evaluate_step(params, batches.batch_at(0, step))
            pieces.append(piece[: len(rows[-1])])
            progress.update(step + 1, examples=len(rows[-1]))
        found = np.concatenate(jax.device_get(pieces))
    result = np.empty_like(found)
    result[np.concatenate(rows)] = found
    return result
