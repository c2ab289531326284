"""Checks for NaN and infinity: losses, states before they are saved, parameters and scores."""

from typing import Any

import jax
import numpy as np

from rnnjax.errors import InputError
from rnnjax.training.global_arrays import to_host
from rnnjax.training.state import TrainState

LOWER_LEARNING_RATE = (
    "Lower config.learning_rate, or limit the gradients with config.optimizer.clip_norm (1.0, "
    "say), in a new folder"
)


class NonFiniteError(InputError):
    """A loss or an array of the training state is NaN or infinite.

    Attributes:
      message: names the number.
      step: the training step after which it was noticed.
    """

    def __init__(self, message: str, step: int, cause: str = ""):
        """Takes the attributes, and the cause with its remedy; by default, divergence."""
        cause = cause or f"the training has diverged. {LOWER_LEARNING_RATE}"
        super().__init__(f"{message}: {cause}")
        self.message = message
        self.step = step


def non_finite_paths(tree: Any) -> list[str]:
    """Returns the paths of the arrays in a pytree that hold NaN or infinity.

    NumPy checks them: checkpoints are written from the memory of the host, and XLA compiles a
    reduction over arrays of many shapes for longer than a small training takes.
    """
    return [
        jax.tree_util.keystr(path, simple=True, separator="/")
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
        if not np.isfinite(to_host(leaf)).all()
    ]


def check_loss(loss: Any, split: str, step: int) -> None:
    """Raises NonFiniteError if a loss, or one of several replicates, is NaN or infinite."""
    losses = np.ravel(loss)
    non_finite = losses[~np.isfinite(losses)]
    if non_finite.size:
        raise NonFiniteError(f"the {split} loss is {non_finite[0]} at step {step}", step)


def check_state(state: TrainState) -> None:
    """Raises NonFiniteError if an array of a state is not finite.

    The loss of the best parameters and that of a plateau are left out: they are infinite before
    the first evaluation.
    """
    check_loss(state.sums["loss"], "training", state.num_steps)
    best = None if state.best is None else state.best.params
    paths = non_finite_paths({**vars(state), "best": best, "plateau": None})
    if paths:
        more, step = f" and {len(paths) - 1} more" if len(paths) > 1 else "", state.num_steps
        raise NonFiniteError(f"{paths[0]}{more} not finite after step {step}", step)


def check_params(params: Any, owner: str) -> None:
    """Raises InputError if parameters of `owner` are not finite."""
    paths = non_finite_paths(params)
    if paths:
        raise InputError(
            f"{owner}: the parameters are not finite ({paths[0]}, {len(paths)} arrays in all), and "
            "so would be every answer; train again with a lower config.learning_rate"
        )
