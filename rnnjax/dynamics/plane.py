"""States of sequences and fixed points in the plane of the first two principal components."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from rnnjax.dynamics.probes import Features

_MAX_STATES = 600


class Plane(NamedTuple):
    """The plane of the first two principal components of the visited states.

    Attributes:
      mean: of the states.
      axes: `[2, size]`.
      variance: share of the states' variance along each axis.
      visited: `[states, 2]`, some of the visited states.
      final: `[rows, 2]`, the states at the end of the examples.
      labels: class of each row; None without.
    """

    mean: Float[np.ndarray, " size"]
    axes: Float[np.ndarray, "2 size"]
    variance: Float[np.ndarray, " 2"]
    visited: Float[np.ndarray, "states 2"]
    final: Float[np.ndarray, "rows 2"]
    labels: Int[np.ndarray, " rows"] | None

    def project(self, state: Float[np.ndarray, " size"]) -> list[float]:
        """Returns the coordinates of a state."""
        return (self.axes @ (state - self.mean)).tolist()

    def summary(self) -> dict[str, Any]:
        """Returns the coordinates, ready for JSON."""
        return {name: getattr(self, name) for name in ("variance", "visited", "final", "labels")}


def project_states(features: Features, seed: int = 0) -> Plane:
    """Returns the plane of the states of examples.

    Args:
      features: states of the examples.
      seed: of the choice of the visited states that are drawn.
    """
    visited = features.states[features.is_example].astype(np.float64)
    rng = np.random.default_rng(seed)
    if len(visited) > _MAX_STATES:
        visited = visited[rng.choice(len(visited), _MAX_STATES, replace=False)]
    mean = visited.mean(axis=0)
    _, singular, axes = np.linalg.svd(visited - mean, full_matrices=False)
    axes = np.pad(axes[:2], ((0, 2 - len(axes[:2])), (0, 0)))
    variance = np.pad(singular**2, (0, 2))[:2] / max((singular**2).sum(), 1e-300)
    final = features.final_states
    rows = slice(None, None, max(len(final) // _MAX_STATES, 1))
    return Plane(
        mean=mean,
        axes=axes,
        variance=variance,
        visited=(visited - mean) @ axes.T,
        final=(final[rows] - mean) @ axes.T,
        labels=None if features.labels is None else features.labels[rows],
    )
