"""A loop over the time axis of arrays `[batch, time, ...]`, for derivatives written by hand."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

At = Callable[[jax.Array], jax.Array]
"""Returns the values of the step at hand, `[batch, ...]`, of an array `[batch, time, ...]`."""


def over_time(
    step: Callable[[Any, At], tuple[Any, Any]], carry: Any, time: int, reverse: bool
) -> tuple[Any, Any]:
    """Calls a step for each position in time, and gathers what it returns.

    `jax.lax.scan` wants time first. Where batch comes first that is a copy of every array on the
    way in and out, and on the way into each product of all steps; this loop reads and writes
    arrays as they lie. It has no derivative.

    Args:
      step: `step(carry, at)` returns the next carry, and arrays `[batch, ...]`.
      carry: before the first step.
      time: number of steps.
      reverse: from the last step to the first.

    Returns:
      The carry after the last step, and what the steps returned, `[batch, time, ...]`.
    """

    def reader(t):
        return lambda values: jax.lax.dynamic_index_in_dim(values, t, axis=1, keepdims=False)

    def body(index, given):
        carry, gathered = given
        t = time - 1 - index if reverse else index
        carry, values = step(carry, reader(t))
        write = jax.lax.dynamic_update_index_in_dim
        return carry, jax.tree.map(lambda all_, one: write(all_, one, t, 1), gathered, values)

    _, values = jax.eval_shape(lambda carry: step(carry, reader(0)), carry)
    gathered = jax.tree.map(
        lambda one: jax.lax.empty((one.shape[0], time, *one.shape[1:]), one.dtype), values
    )
    return jax.lax.fori_loop(0, time, body, (carry, gathered))


def real(values: jax.Array, mask: Bool[Array, "*steps"] | None) -> jax.Array:
    """Returns values `[*steps, ...]` with zeros where the mask is False, whatever stands there."""
    return values if mask is None else held(mask, values, jnp.zeros_like(values))


def held(mask: Bool[Array, "*steps"] | None, new: jax.Array, old: jax.Array) -> jax.Array:
    """Returns what is new where the mask is True, and what was where it is False.

    The mask's axes are the first of the values'.
    """
    if mask is None:
        return new
    return jnp.where(mask.reshape(mask.shape + (1,) * (new.ndim - mask.ndim)), new, old)


def before(states: jax.Array, first: jax.Array, reverse: bool) -> jax.Array:
    """Returns the state that each step `[batch, time, ...]` started from."""
    if reverse:
        return jnp.concatenate([states[:, 1:], first[:, None]], axis=1)
    return jnp.concatenate([first[:, None], states[:, :-1]], axis=1)


def kernel_gradient(
    states: jax.Array, pulled: jax.Array, kernel: jax.Array
) -> Float[Array, "features units"]:
    """Returns the gradient of the kernel of `state @ kernel` in all steps, as one product."""
    return jnp.einsum(
        "btf,btg->fg",
        states.astype(pulled.dtype),
        pulled,
        preferred_element_type=kernel.dtype,
    )
