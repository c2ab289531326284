"""Loops over the time axis of arrays `[batch, time, ...]` for hand-written derivatives."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from rnnjax.kernels.masking import where_mask

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


def previous_states(
    states: jax.Array,
    first: jax.Array,
    reverse: bool,
    resets: Bool[Array, "batch time"] | None = None,
    reset_state: jax.Array | None = None,
) -> jax.Array:
    """Returns the state that each step reads, `[batch, time, ...]`.

    Args:
      states: after each step.
      first: before the first step.
      reverse: from the last step to the first.
      resets: True where a step reads the reset state; None for nowhere.
      reset_state: `[batch, ...]`, needed with `resets`.
    """
    parts = [states[:, 1:], first[:, None]] if reverse else [first[:, None], states[:, :-1]]
    previous = jnp.concatenate(parts, axis=1)
    if resets is None:
        return previous
    assert reset_state is not None
    return where_mask(resets, jnp.broadcast_to(reset_state[:, None], previous.shape), previous)


def read_state(at: Index, resets: jax.Array | None, reset_state: Any, state: Any) -> Any:
    """Returns the state that a step reads: the reset state in rows with a reset."""
    if resets is None:
        return state
    return jax.tree.map(functools.partial(where_mask, at(resets)), reset_state, state)


def split_gradient(
    at: Index, resets: jax.Array | None, gradient: Any, grad_reset: Any
) -> tuple[Any, Any]:
    """Returns the gradient of the state before a step, and that of the reset state so far.

    Args:
      at: as of `scan_time`.
      resets: as of `read_state`.
      gradient: of the state that the step reads.
      grad_reset: of the reset state, of the steps after this one.
    """
    if resets is None:
        return gradient, grad_reset
    zeros = jax.tree.map(jnp.zeros_like, gradient)
    select = functools.partial(where_mask, at(resets))
    of_reset = jax.tree.map(select, gradient, zeros)
    return jax.tree.map(select, zeros, gradient), jax.tree.map(jnp.add, grad_reset, of_reset)


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
