"""A loop over the time axis of arrays `[batch, time, ...]`, for derivatives written by hand."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

At = Callable[[jax.Array], jax.Array]
"""Returns the values of the step at hand, `[batch, ...]`, of an array `[batch, time, ...]`."""


def scan_time(
    step: Callable[[Any, Any, At], tuple[Any, Any]], carry: Any, arrays: Any, reverse: bool
) -> tuple[Any, Any]:
    """Calls a step for each position in time, and writes over arrays what it returns.

    `jax.lax.scan` wants time first. Where batch comes first that is a copy of every array on the
    way in and out, and on the way into each product of all steps; this loop reads and writes
    arrays as they lie. What is made where something was read once needs no memory of its own. It
    has no derivative.

    Args:
      step: `step(carry, values, at)` returns the next carry and what takes the place of the values,
        `[batch, ...]`, that the arrays have at this step.
      carry: before the first step.
      arrays: a pytree of arrays `[batch, time, ...]`; `empty` makes those in which there is nothing
        to read.
      reverse: from the last step to the first.

    Returns:
      The carry after the last step, and the arrays as they then are.
    """
    time = jax.tree.leaves(arrays)[0].shape[1]
    axis: Any = {"axis": 1, "allow_negative_indices": False}

    def body(index, given):
        carry, arrays = given
        t = time - 1 - index if reverse else index

        def at(values):
            return jax.lax.dynamic_index_in_dim(values, t, keepdims=False, **axis)

        carry, values = step(carry, jax.tree.map(at, arrays), at)

        def write(array, one):
            return jax.lax.dynamic_update_index_in_dim(array, one, t, **axis)

        return carry, jax.tree.map(write, arrays, values)

    return jax.lax.fori_loop(0, time, body, (carry, arrays))


def empty(like: jax.Array, features: int, dtype: Any) -> jax.Array:
    """Returns an array `[batch, time, features]` for `scan_time` to fill.

    On a CPU `jax.lax.empty` is the same program, but jax.hessian cannot batch it.

    Args:
      like: an array `[batch, time, ...]`.
      features: size of the last axis.
      dtype: of the array.
    """
    return jnp.zeros((*like.shape[:2], features), dtype)


def zero_masked(values: jax.Array, mask: Bool[Array, "*steps"] | None) -> jax.Array:
    """Returns values `[*steps, ...]` with zeros where the mask is False, whatever stands there."""
    return values if mask is None else where_mask(mask, values, jnp.zeros_like(values))


def where_mask(mask: Bool[Array, "*steps"] | None, new: jax.Array, old: jax.Array) -> jax.Array:
    """Returns what is new where the mask is True, and what was where it is False.

    The mask's axes are the first of the values'.
    """
    if mask is None:
        return new
    return jnp.where(mask.reshape(mask.shape + (1,) * (new.ndim - mask.ndim)), new, old)


def previous_states(states: jax.Array, first: jax.Array, reverse: bool) -> jax.Array:
    """Returns the state that each step `[batch, time, ...]` started from."""
    if reverse:
        return jnp.concatenate([states[:, 1:], first[:, None]], axis=1)
    return jnp.concatenate([first[:, None], states[:, :-1]], axis=1)


def kernel_gradient(
    states: jax.Array, cotangents: jax.Array, kernel: jax.Array
) -> Float[Array, "features units"]:
    """Returns the gradient of the kernel of `state @ kernel` in all steps, as one product."""
    return jnp.einsum(
        "btf,btg->fg",
        states.astype(cotangents.dtype),
        cotangents,
        preferred_element_type=kernel.dtype,
    )
