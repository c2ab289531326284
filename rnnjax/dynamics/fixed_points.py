"""Fixed and slow points of a layer's state under a constant input."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from rnnjax.dynamics.trajectory import System, Trajectory, state_vectors
from rnnjax.errors import InputError

MAX_SIZE = 512
"""Largest state whose Jacobians are inverted."""
_STARTS = 16
_ENTRIES = 2**20
"""Most entries of the Jacobians of all starts."""
_ITERATIONS = 80
_FIXED = 1e-4
"""Speed of a fixed point, relative to 1 + the norm of its state."""
_SLOW = 0.1
"""Speed of a slow point, relative to the median speed of the visited states."""
_SAME = 0.02
"""Distance of points that are one, relative to that of the visited states from their mean."""
_REACH = 2.0
"""Largest distance of a point from the mean of the visited states, relative to theirs."""


class Point(NamedTuple):
    """A state that a constant input leaves where it is, or nearly so.

    Attributes:
      state: as a vector, part after part.
      speed: norm of its change in a step.
      kind: 'fixed', or 'slow' where the speed is at most a tenth of the visited states' median.
      eigenvalues: of the step's Jacobian, largest absolute value first.
      starts: share of the visited states from which the search ended here.
    """

    state: Float[np.ndarray, " size"]
    speed: float
    kind: str
    eigenvalues: Complex[np.ndarray, " size"]
    starts: float

    @property
    def unstable(self) -> int:
        """Number of directions in which the state leaves the point: eigenvalues above 1."""
        return int((np.abs(self.eigenvalues) > 1).sum())

    @property
    def stability(self) -> str:
        """'stable', 'saddle' with directions of both kinds, or 'unstable'."""
        if not self.unstable:
            return "stable"
        return "unstable" if self.unstable == len(self.eigenvalues) else "saddle"

    @property
    def time_constants(self) -> Float[np.ndarray, " size"]:
        """Steps in which a difference along each eigenvector falls, or grows, by the factor e."""
        with np.errstate(divide="ignore"):
            return np.abs(1 / np.log(np.abs(self.eigenvalues)))


def find_points(
    trajectory: Trajectory,
    inputs: Mapping[str, Float[Array | np.ndarray, " *features"]],
    *,
    starts: int = _STARTS,
    seed: int = 0,
) -> dict[str, list[Point]]:
    r"""Finds fixed and slow points of the state under constant inputs, slowest first.

    From visited states, :math:`|f(s, x) - s|^2 / 2` is minimised by the method of Levenberg and
    Marquardt, of all starts at once. Minima that are neither fixed nor slow, or that lie far from
    all visited states, are dropped, and equal ones are joined.

    Source: Sussillo, Barak, Opening the black box: low-dimensional dynamics in high-dimensional
    recurrent neural networks, Neural Computation 25 (2013).

    Args:
      trajectory: whose visited states are the starts.
      inputs: of the layer at one step, by name.
      starts: visited states; fewer where the state is large.
      seed: of the choice of the starts.

    Raises:
      InputError: the state has more than 512 numbers, or a step has no derivative in forward mode.
    """
    size = trajectory.size
    if size > MAX_SIZE:
        raise InputError(
            f"the state of {trajectory.name} has {size} numbers, too many for the eigenvalues of "
            f"its Jacobians; expected at most {MAX_SIZE}"
        )
    mask = np.asarray(trajectory.mask)
    states = np.asarray(state_vectors(trajectory))
    speeds = _visited_speeds(states, mask)
    visited = states[mask]
    starts = max(min(starts, _ENTRIES // size**2, len(visited)), 1)
    chosen = np.random.default_rng(seed).choice(len(visited), starts, replace=False)
    rows = trajectory.replace(
        mask=jnp.ones((starts, 1), bool),
        initial_state=jax.tree.map(
            lambda leaf: jnp.repeat(leaf[:1], starts, axis=0), trajectory.initial_state
        ),
        resets=None,
    )
    points = {}
    for name, values in inputs.items():
        values = jnp.asarray(values, trajectory.inputs.dtype)
        constant = jnp.broadcast_to(values, (starts, 1, *values.shape))
        minima, minimal_speeds, jacobians = jax.device_get(
            _search(rows.replace(inputs=constant), visited[chosen])
        )
        points[name] = _distinct(minima, minimal_speeds, jacobians, visited, np.median(speeds))
    return points


def _visited_speeds(states: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Returns the norm of the change of the state at each step after the first."""
    changes = np.linalg.norm(np.diff(states, axis=1), axis=2)[mask[:, 1:]]
    return changes if changes.size else np.ones(1)


@jax.jit
def _search(
    trajectory: Trajectory, starts: Float[Array, "starts size"]
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns the states of minimal speed, their speeds, and the Jacobians there."""
    system = System(trajectory)
    system.require_forward_mode()
    steps = jax.tree.map(lambda leaf: leaf[0], system.xs[0])
    rows, size = starts.shape
    identity = jnp.eye(size, dtype=starts.dtype)

    def linearize(states):
        """Returns the changes of the states in a step, and the Jacobians [rows, out, in]."""
        new, jvp = jax.linearize(lambda vectors: system.step(vectors, steps), states)
        tangents = jnp.broadcast_to(identity[:, None], (size, rows, size))
        return new - states, jax.vmap(jvp)(tangents).transpose(1, 2, 0)

    def iterate(_, carry):
        states, changes, jacobians, damping = carry
        slopes = jacobians - identity[None]
        normal = jnp.einsum("roi,roj->rij", slopes, slopes, precision="highest")
        gradient = jnp.einsum("roi,ro->ri", slopes, changes, precision="highest")
        damped = normal + damping[:, None, None] * identity[None]
        update = jnp.linalg.solve(damped, gradient[..., None])[..., 0]
        candidates = states - update
        candidate_changes, candidate_jacobians = linearize(candidates)
        better = jnp.sum(candidate_changes**2, axis=1) < jnp.sum(changes**2, axis=1)
        return (
            jnp.where(better[:, None], candidates, states),
            jnp.where(better[:, None], candidate_changes, changes),
            jnp.where(better[:, None, None], candidate_jacobians, jacobians),
            jnp.clip(jnp.where(better, damping / 4, damping * 4), 1e-7, 1e7),
        )

    carry = (starts, *linearize(starts), jnp.full(rows, 0.1, starts.dtype))
    states, changes, jacobians, _ = jax.lax.fori_loop(0, _ITERATIONS, iterate, carry)
    return states, jnp.linalg.norm(changes, axis=1), jacobians


def _distinct(
    states: np.ndarray,
    speeds: np.ndarray,
    jacobians: np.ndarray,
    visited: np.ndarray,
    visited_speed: Any,
) -> list[Point]:
    """Returns the points among minima, joined where they are equal, slowest first."""
    mean = visited.mean(axis=0)
    distances = np.linalg.norm(visited - mean, axis=1)
    radius, tolerance = distances.max(), _SAME * np.sqrt(np.mean(distances**2))
    is_fixed = speeds <= _FIXED * (1 + np.linalg.norm(states, axis=1))
    is_near = np.linalg.norm(states - mean, axis=1) <= _REACH * radius
    is_point = (is_fixed | (speeds <= _SLOW * visited_speed)) & is_near
    chosen: list[int] = []
    owners: list[int] = []
    for index in np.argsort(speeds, kind="stable"):
        if not is_point[index]:
            continue
        near = [
            minimum
            for minimum in chosen
            if np.linalg.norm(states[index] - states[minimum]) <= tolerance
        ]
        if not near:
            chosen.append(int(index))
        owners.append(near[0] if near else int(index))
    points = []
    for index in chosen:
        eigenvalues = np.linalg.eigvals(jacobians[index].astype(np.float64))
        order = np.argsort(-np.abs(eigenvalues), kind="stable")
        points.append(
            Point(
                state=states[index],
                speed=float(speeds[index]),
                kind="fixed" if is_fixed[index] else "slow",
                eigenvalues=eigenvalues[order].astype(np.complex128),
                starts=owners.count(index) / len(states),
            )
        )
    return points
