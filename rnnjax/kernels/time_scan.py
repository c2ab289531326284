"""Loops over the time axis of arrays `[batch, time, ...]` for hand-written derivatives."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Index = Callable[[jax.Array], jax.Array]
"""Reads the current step, `[batch, ...]`, of an array `[batch, time, ...]`."""


def scan_time(
    step: Callable[[Any, Any, Index], tuple[Any, Any]], carry: Any, arrays: Any, reverse: bool
) -> tuple[Any, Any]:
    """Scans over time in batch-major layout and writes each step's values in place.

    `jax.lax.scan` is time-major. With batch-major arrays it copies every array on the way in and
    out, and before each product over all steps; this loop reads and writes arrays in their own
    layout. An array that is read once serves as the buffer of a result. It has no derivative.

    Args:
      step: `step(carry, values, at)` returns the next carry and the values `[batch, ...]` to write
        into the arrays at this step; `at(array)` reads the current step of any other array.
      carry: initial carry.
      arrays: a pytree of arrays `[batch, time, ...]`, read and overwritten; `empty` makes those
        that are only written.
      reverse: from the last step to the first.

    Returns:
      The final carry and the overwritten arrays.
    """
    time = jax.tree.leaves(arrays)[0].shape[1]
    axis: Any = {"axis": 1, "allow_negative_indices": False}

    def body(index, loop_state):
        carry, arrays = loop_state
        t = time - 1 - index if reverse else index

        def at(values):
            return jax.lax.dynamic_index_in_dim(values, t, keepdims=False, **axis)

        carry, values = step(carry, jax.tree.map(at, arrays), at)

        def write(array, value):
            return jax.lax.dynamic_update_index_in_dim(array, value, t, **axis)

        return carry, jax.tree.map(write, arrays, values)

    return jax.lax.fori_loop(0, time, body, (carry, arrays))


def empty(like: jax.Array, features: int, dtype: Any) -> jax.Array:
    """Allocates an array `[batch, time, features]` for `scan_time` to fill.

    On a CPU `jax.lax.empty` is the same program, but jax.hessian cannot batch it.

    Args:
      like: an array `[batch, time, ...]`.
      features: size of the last axis.
      dtype: of the array.
    """
    return jnp.zeros((*like.shape[:2], features), dtype)


def previous_states(states: jax.Array, first: jax.Array, reverse: bool) -> jax.Array:
    """Returns the state before each step, `[batch, time, ...]`."""
    if reverse:
        return jnp.concatenate([states[:, 1:], first[:, None]], axis=1)
    return jnp.concatenate([first[:, None], states[:, :-1]], axis=1)


def kernel_gradient(
    states: jax.Array, cotangents: jax.Array, kernel: jax.Array
) -> Float[Array, "features units"]:
    """Returns the gradient of the kernel of `state @ kernel` over all steps, as one product."""
    return jnp.einsum(
        "btf,btg->fg",
        states.astype(cotangents.dtype),
        cotangents,
        preferred_element_type=kernel.dtype,
    )
