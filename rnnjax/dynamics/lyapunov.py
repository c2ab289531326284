"""Lyapunov exponents along real sequences, by the QR method."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from rnnjax.dynamics.trajectory import System, Trajectory
from rnnjax.errors import InputError

_EXPONENTS = 16
_WARM_UP_SHARE = 0.25


class LyapunovSpectrum(NamedTuple):
    """The leading Lyapunov exponents of a layer along sequences, largest first.

    Attributes:
      exponents: mean logarithmic growth of a small difference of states, per step, in nats.
      standard_errors: of the exponents over the sequences; NaN of one sequence.
      sequences: number of those with a counted step.
      steps: counted in all of them.
      verdict: 'expanding' or 'contracting' where the largest exponent is two standard errors from
        zero, otherwise 'neutral'.
    """

    exponents: Float[np.ndarray, " exponents"]
    standard_errors: Float[np.ndarray, " exponents"]
    sequences: int
    steps: int
    verdict: str

    @property
    def time_constant(self) -> float:
        """Steps in which a small difference falls to 1/e; infinite where it does not fall."""
        return -1 / float(self.exponents[0]) if self.exponents[0] < 0 else math.inf

    def describe(self) -> str:
        """Returns the verdict in a sentence."""
        rate = f"{self.exponents[0]:+.3f} ± {self.standard_errors[0]:.3f} a step"
        meaning = {
            "contracting": "small differences die out within about "
            f"{self.time_constant:.1f} steps (1/e)",
            "expanding": "small differences grow: the layer is sensitive to them, as chaos is",
            "neutral": "small differences neither grow nor die out",
        }
        return f"{self.verdict}, {rate}: {meaning[self.verdict]}"


def lyapunov_spectrum(
    trajectory: Trajectory,
    *,
    exponents: int = _EXPONENTS,
    warm_up: int | None = None,
    seed: int = 0,
) -> LyapunovSpectrum:
    """Estimates the leading Lyapunov exponents along the sequences of a trajectory.

    Orthonormal directions are carried along by the Jacobians of the steps, and are made orthonormal
    again by a QR decomposition after each; an exponent is the mean logarithm of a diagonal entry of
    R. A masked step is no time. The mean over sequences is weighted by their steps, its error that
    of a ratio. Exponents of sequences as short as texts are those of finite times. The estimate of
    `rnnjax.kernels.newton.largest_lyapunov_exponent` is that of one product of all Jacobians.

    Source: Benettin et al., Lyapunov characteristic exponents for smooth dynamical systems,
    Meccanica 15 (1980); for recurrent networks Vogt et al., On Lyapunov exponents for RNNs,
    Frontiers in Applied Mathematics and Statistics 8 (2022).

    Args:
      trajectory: as `trace_run` or `trace_module` returns it.
      exponents: most exponents; no more than the size of the state.
      warm_up: steps at the start of a sequence in which the directions align, and which do not
        count; None for a quarter of the mean length.
      seed: of the first directions.

    Raises:
      InputError: no sequence is longer than the warm-up, or a step has no derivative in forward
        mode.
    """
    mask = np.asarray(trajectory.mask)
    if warm_up is None:
        warm_up = int(_WARM_UP_SHARE * mask.sum() / max(mask.any(axis=1).sum(), 1))
    counts = np.maximum(mask.sum(axis=1) - warm_up, 0)
    if not counts.any():
        raise InputError(
            f"warm_up: given {warm_up} steps, and the longest sequence has "
            f"{mask.sum(axis=1).max()}; expected a longer one"
        )
    count = min(exponents, trajectory.size)
    normal = np.random.default_rng(seed).standard_normal((trajectory.size, count))
    directions = np.linalg.qr(normal)[0]
    sums = np.asarray(_log_growth(trajectory, directions, np.int32(warm_up)), np.float64)
    sums, counts = sums[counts > 0], counts[counts > 0]
    means = sums.sum(axis=0) / counts.sum()
    errors = _standard_errors(sums, counts, means)
    order = np.argsort(-means, kind="stable")
    means, errors = means[order], errors[order]
    return LyapunovSpectrum(
        exponents=means,
        standard_errors=errors,
        sequences=len(counts),
        steps=int(counts.sum()),
        verdict=_verdict(means[0], errors[0]),
    )


@jax.jit
def _log_growth(
    trajectory: Trajectory, directions: Float[Array, "size exponents"], warm_up: jax.Array
) -> Float[Array, "batch exponents"]:
    """Returns the sums of the logarithms of R's diagonal over the counted steps of each row."""
    system = System(trajectory)
    system.require_forward_mode()
    previous, _ = system.states()
    rows = previous.shape[1]
    # Of each row the directions are rows of a matrix, as `jax.vmap` gives their images.
    bases = jnp.repeat(directions.T.astype(previous.dtype)[:, None], rows, axis=1)
    counts = jnp.zeros(rows, jnp.int32)
    sums = jnp.zeros((rows, directions.shape[1]), previous.dtype)

    def body(carry, x):
        bases, counts, sums = carry
        previous_state, (steps, mask, _) = x
        _, jvp = jax.linearize(lambda vectors: system.step(vectors, steps), previous_state)
        images = jax.vmap(jvp)(bases)
        orthonormal, triangle = jnp.linalg.qr(images.transpose(1, 2, 0))
        diagonal = jnp.abs(jnp.diagonal(triangle, axis1=1, axis2=2))
        counts = counts + mask.astype(counts.dtype)
        is_counted = mask & (counts > warm_up)
        sums = sums + jnp.where(is_counted[:, None], jnp.log(diagonal), 0)
        bases = jnp.where(mask[None, :, None], orthonormal.transpose(2, 0, 1), bases)
        return (bases, counts, sums), None

    return jax.lax.scan(body, (bases, counts, sums), (previous, system.xs))[0][2]


def _standard_errors(sums: np.ndarray, counts: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Returns the standard errors of the ratio of two means over sequences."""
    number = len(counts)
    if number < 2:
        return np.full(len(means), np.nan)
    with np.errstate(invalid="ignore"):  # a singular Jacobian has an exponent of minus infinity
        residuals = sums - counts[:, None] * means
    return np.sqrt(number / (number - 1) * (residuals**2).sum(axis=0)) / counts.sum()


def _verdict(largest: float, error: float) -> str:
    margin = 2 * error if np.isfinite(error) else 0.0
    if largest > margin:
        return "expanding"
    return "contracting" if largest < -margin else "neutral"
