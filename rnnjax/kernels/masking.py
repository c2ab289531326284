"""The mask rule: a masked step keeps the old value, and its inputs are read as zero."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool


def zero_masked(values: jax.Array, mask: Bool[Array, "*steps"] | None) -> jax.Array:
    """Zeroes masked steps, NaN and infinity included.

    Args:
      values: `[*steps, ...]`.
      mask: True where a step is real; None if all are.
    """
    return values if mask is None else where_mask(mask, values, jnp.zeros_like(values))


def where_mask(mask: Bool[Array, "*steps"] | None, new: jax.Array, old: jax.Array) -> jax.Array:
    """Selects the new value at real steps and the old one at masked steps.

    Args:
      mask: True where a step is real; None if all are. Its axes are the leading ones of the values.
      new: `[*steps, ...]`.
      old: of the same shape.
    """
    if mask is None:
        return new
    return jnp.where(mask.reshape(mask.shape + (1,) * (new.ndim - mask.ndim)), new, old)
