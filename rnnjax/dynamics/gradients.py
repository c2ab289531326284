"""Gradient reach: how much of a derivative by an earlier state is left over the lags."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from rnnjax.dynamics.trajectory import System, Trajectory

_MAX_DIRECTIONS = 256
"""Largest size of a state whose Jacobians are computed in full."""
_SAMPLED_DIRECTIONS = 64
"""Random directions of the final state, where it is larger."""
_MAX_LAG = 200
_VANISHED, _EXPLODED = 0.01, 100.0


class GradientReach(NamedTuple):
    r"""The norm of :math:`\partial s_T / \partial s_{T-k}` over the lags k.

    s is the state with all its parts, T the last step of a sequence that is not masked, and lags
    count the steps that are not masked. The norm is that of Frobenius relative to the identity's,
    the root mean square gain over all directions: 1 where the state is carried on unchanged.

    Attributes:
      lags: 0 and up, as far as half of the sequences reach.
      median: norm at each lag, over the sequences.
      lower: quartile.
      upper: quartile.
      half_life: the first lag at which the median is one half, interpolated; infinite if it stays
        above.
      verdict: 'vanishing' where the last median is at most 0.01, 'exploding' where one is 100 or
        more, otherwise 'lasting'.
    """

    lags: Int[np.ndarray, " lags"]
    median: Float[np.ndarray, " lags"]
    lower: Float[np.ndarray, " lags"]
    upper: Float[np.ndarray, " lags"]
    half_life: float
    verdict: str

    def describe(self) -> str:
        """Returns the verdict in a sentence."""
        last, norm = int(self.lags[-1]), float(self.median[-1])
        half = (
            f"half is left after {self.half_life:.1f} steps"
            if math.isfinite(self.half_life)
            else f"more than half is left at every lag up to {last}"
        )
        return f"{self.verdict}: {half}, and the norm at lag {last} is {norm:.2g}"


def gradient_reach(
    trajectory: Trajectory, *, max_lag: int = _MAX_LAG, seed: int = 0
) -> GradientReach:
    """Measures how far gradients reach back along the sequences of a trajectory.

    Of a state of more than 256 numbers the norm is estimated from 64 random directions of the final
    state. A reset ends a sequence: lags do not reach beyond it.

    Source: Pascanu, Mikolov, Bengio, On the difficulty of training recurrent neural networks, ICML
    2013, for the vanishing and exploding of these products.

    Args:
      trajectory: as `trace_run` or `trace_module` returns it.
      max_lag: largest lag.
      seed: of the random directions.
    """
    step_log_norms = log_norms(trajectory, seed)
    mask = np.asarray(trajectory.mask)
    rows = [[0.0] for _ in mask]
    for row, reset in enumerate(_last_resets(trajectory)):
        steps = np.flatnonzero(mask[row])
        steps = steps[steps > reset][::-1][:max_lag]
        rows[row] += step_log_norms[row, steps].tolist()
    lengths = np.array([len(row) for row in rows])
    count = max(int(np.median(lengths)), 1)
    curves = np.array([row[:count] for row in rows if len(row) >= count])
    lower, median, upper = np.quantile(curves, (0.25, 0.5, 0.75), axis=0, method="nearest")
    return GradientReach(
        lags=np.arange(count),
        median=np.exp(median),
        lower=np.exp(lower),
        upper=np.exp(upper),
        half_life=half_life(range(count), median),
        verdict=_verdict(median),
    )


def log_norms(trajectory: Trajectory, seed: int = 0) -> Float[np.ndarray, "batch time"]:
    """Returns the logarithm of the norm of the final state's derivative by that before each step.

    Args:
      trajectory: of the states.
      seed: of the random directions of a large state.
    """
    return np.asarray(_log_norms(trajectory, _directions(trajectory.size, seed)))


def _directions(size: int, seed: int) -> Float[np.ndarray, "directions size"]:
    """Returns directions whose mean squared image has the norm of Frobenius over the identity's."""
    if size <= _MAX_DIRECTIONS:
        return np.eye(size)
    normal = np.random.default_rng(seed).standard_normal((size, _SAMPLED_DIRECTIONS))
    return np.linalg.qr(normal)[0].T


def _last_resets(trajectory: Trajectory) -> Int[np.ndarray, " rows"]:
    """Returns the step of the last reset of each row; -1 without any."""
    if trajectory.resets is None:
        return np.full(len(trajectory.mask), -1)
    resets = np.asarray(trajectory.resets)
    last = resets.shape[1] - 1 - resets[:, ::-1].argmax(axis=1)
    return np.where(resets.any(axis=1), last, -1)


@jax.jit
def _log_norms(
    trajectory: Trajectory, directions: Float[Array, "directions size"]
) -> Float[Array, "batch time"]:
    """Returns the logarithm of the norm of the final state's derivative by that before each step.

    The cotangents are rescaled on the way, so that no product leaves the range of the numbers.
    """
    system = System(trajectory)
    previous, _ = system.states()
    rows = previous.shape[1]
    cotangents = jnp.repeat(directions.astype(previous.dtype)[:, None], rows, axis=1)

    def body(carry, x):
        cotangents, logarithms = carry
        previous_state, (steps, mask, _) = x
        _, pull_back = jax.vjp(lambda vectors: system.step(vectors, steps), previous_state)
        (products,) = jax.vmap(pull_back)(cotangents)
        products = jnp.where(mask[None, :, None], products, cotangents)
        size = jnp.sqrt(jnp.mean(jnp.sum(jnp.square(products), axis=2), axis=0))
        scale = jnp.where((size > 0) & jnp.isfinite(size), size, 1)
        logarithms = logarithms + jnp.log(size)
        return (products / scale[None, :, None], logarithms), logarithms

    carry = (cotangents, jnp.zeros(rows, previous.dtype))
    _, logarithms = jax.lax.scan(body, carry, (previous, system.xs), reverse=True)
    return logarithms.T


def half_life(steps: Sequence[int], log_norms: Float[np.ndarray, " steps"]) -> float:
    """Returns the first step at which a norm is one half, interpolated; infinite without any.

    Args:
      steps: rising from 0.
      log_norms: at each, the first of them 0.
    """
    half = math.log(0.5)
    below = np.flatnonzero(log_norms <= half)
    if not below.size:
        return math.inf
    index = int(below[0])
    if not np.isfinite(log_norms[index]):
        return float(steps[index])
    upper, lower = log_norms[index - 1 : index + 1]
    share = (upper - half) / (upper - lower)
    return float(steps[index - 1] + share * (steps[index] - steps[index - 1]))


def _verdict(log_norms: Float[np.ndarray, " lags"]) -> str:
    if log_norms.max() >= math.log(_EXPLODED):
        return "exploding"
    return "vanishing" if log_norms[-1] <= math.log(_VANISHED) else "lasting"
