"""Checks that numbers are finite: a state before it is saved, scores before they count."""

import math
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from rnnjax.errors import InputError
from rnnjax.training.state import TrainState

LOWER = (
    "Lower config.learning_rate, or limit the gradients with config.optimizer.clip_norm (1.0, "
    "say), in a new folder"
)


class NonFiniteError(InputError):
    """A training has left the finite numbers.

    Attributes:
      message: which number it was.
      step: the training step after which that was noticed.
    """

    def __init__(self, message: str, step: int, cause: str = f"the training has diverged. {LOWER}"):
        """Takes the attributes, and the cause with what to do about it."""
        super().__init__(f"{message}: {cause}")
        self.message = message
        self.step = step


def non_finite_paths(tree: Any) -> list[str]:
    """Returns the paths of the arrays in a pytree that hold NaN or infinity.

    NumPy looks at them: checkpoints are written from the memory of the host, and XLA compiles a
    reduction over arrays of many shapes for longer than a small training takes.
    """
    return [
        jax.tree_util.keystr(path, simple=True, separator="/")
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
        if not np.isfinite(np.asarray(leaf)).all()
    ]


def check_loss(loss: Any, split: str, step: int) -> None:
    """Raises NonFiniteError if a loss, or one of several replicates, is NaN or infinite."""
    losses = np.ravel(loss)
    wrong = losses[~np.isfinite(losses)]
    if wrong.size:
        raise NonFiniteError(f"the {split} loss is {wrong[0]} at step {step}", step)


def check_state(state: TrainState) -> None:
    """Raises NonFiniteError if an array of a state is not finite; then it must not be saved.

    The loss of the best parameters is left out: it is infinite before the first evaluation.
    """
    check_loss(state.sums["loss"], "training", state.done)
    best = None if state.best is None else state.best.params
    paths = non_finite_paths({**vars(state), "best": best})
    if paths:
        more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
        raise NonFiniteError(f"{paths[0]}{more} not finite after step {state.done}", state.done)


def check_params(params: Any, owner: str) -> None:
    """Raises InputError if parameters that are to answer are not finite."""
    paths = non_finite_paths(params)
    if paths:
        raise InputError(
            f"{owner}: the parameters are not finite ({paths[0]}, {len(paths)} arrays in all), and "
            "so would be every answer; train again with a lower config.learning_rate"
        )


def check_scores(scores: Mapping[str, Any], owner: str) -> None:
    """Raises InputError if a score is NaN or infinite."""
    wrong = [
        f"{name} {value}"
        for name, value in scores.items()
        if isinstance(value, float) and not math.isfinite(value)
    ]
    if wrong:
        raise InputError(
            f"{owner}: the scores are not finite ({', '.join(wrong)}): the training has diverged, "
            "or the network overflows on this data. Train again in a new folder with a lower "
            "config.learning_rate, or with config.optimizer.clip_norm (1.0, say)"
        )
