"""Losses and scores of predicted numbers."""

from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import Array, Float


def number_losses(
    predictions: Float[Array, "*shape quantiles"],
    targets: Float[Array, "*shape"],
    kind: str,
    quantiles: Sequence[float],
) -> Float[Array, "*shape"]:
    """Returns squared, absolute or mean pinball losses.

    The pinball loss of a quantile q is `max(q e, (q - 1) e)` with the error `e = target -
    prediction`. Koenker, Bassett, Regression quantiles, Econometrica 46 (1978).
    """
    errors = targets[..., None] - predictions
    if kind == "squared":
        return errors[..., 0] ** 2
    if kind == "absolute":
        return jnp.abs(errors[..., 0])
    levels = jnp.asarray(quantiles, jnp.float32).reshape((1,) * targets.ndim + (-1,))
    return jnp.mean(jnp.maximum(levels * errors, (levels - 1) * errors), axis=-1)


def score_numbers(
    absolute: float, squared: float, total_squares: float, count: float
) -> dict[str, float]:
    """Returns 'mae', 'rmse' and 'r2' from sums over `count` numbers.

    Args:
      absolute: sum of absolute errors.
      squared: sum of squared errors.
      total_squares: sum of squared deviations of the targets from their mean.
      count: of the numbers.
    """
    r2 = 1 - squared / total_squares if total_squares > 0 else 0.0
    return {"mae": absolute / count, "rmse": (squared / count) ** 0.5, "r2": r2}
