"""Linear recurrences over the time axis, and their derivative: the same recurrence run back."""

import functools
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Inexact

from rnnjax.kernels.masking import where_mask, zero_masked
from rnnjax.kernels.time_scan import Index, previous_states, scan_time

Method = Literal["loop", "associative"]


def linear_recurrence(
    a: Inexact[Array, "#batch #time *#state"],
    b: Inexact[Array, "batch time *state"],
    initial_state: Inexact[Array, "batch ..."],
    mask: Bool[Array, "batch time"] | None = None,
    reverse: bool = False,
    resets: Bool[Array, "batch time"] | None = None,
    reset_state: Inexact[Array, "batch ..."] | None = None,
    method: Method = "loop",
) -> Inexact[Array, "batch time *state"]:
    r"""Computes :math:`s_t = a_t \odot s_{t-1} + b_t` under the mask rule.

    A step with a reset reads `reset_state` in the place of the state before it. The gradient of b
    is a linear recurrence in the other direction, so that the states are all that is saved. Reverse
    mode only.

    Source: Martin, Cundy, Parallelizing linear recurrent neural nets over sequence length, ICLR
    2018, for the associative scan and the derivative.

    Args:
      a: `[batch, time, *state]`, in the dtype of b; an axis of size one is broadcast against b's. A
        transition that is the same at every step has a time axis of size one, and its loop reads
        and stores no array over time.
      b: `[batch, time, *state]`, real or complex, in the dtype of the states.
      initial_state: `[batch, *state]`, before the first step that is read.
      mask: True where a step is real; None if all are.
      reverse: from the last step to the first.
      resets: True where a step begins from `reset_state`; None if none does.
      reset_state: `[batch, *state]`, needed with `resets`.
      method: 'loop' runs step by step, 'associative' is a parallel scan of logarithmic depth.

    Returns:
      The state after each step.
    """
    b = zero_masked(b, mask)
    if resets is not None:
        assert reset_state is not None
        factors = where_mask(mask, jnp.broadcast_to(a, b.shape), jnp.ones_like(b))
        b = where_mask(resets, b + factors * reset_state[:, None], b)
    states: Any = _states(a, b, initial_state, mask, resets, reverse, method)
    return states


@functools.partial(jax.custom_vjp, nondiff_argnums=(5, 6))
def _states(a, b, initial, mask, resets, reverse, method):
    return _solve(a, b, initial, mask, resets, reverse, method)


def _forward(a, b, initial, mask, resets, reverse, method):
    states = _states(a, b, initial, mask, resets, reverse, method)
    return states, (a, initial, mask, resets, states)


def _backward(reverse, method, residuals, cotangents):
    a, initial, mask, resets, states = residuals
    # A step passes its gradient through the transition of the step that follows.
    following = (_following(values, reverse) for values in (a, mask, resets))
    a_following, mask_following, resets_following = following
    grad_b = _solve(
        a_following,
        cotangents,
        jnp.zeros_like(initial),
        mask_following,
        resets_following,
        not reverse,
        method,
    )
    grad_a = grad_b * previous_states(states, initial, reverse)
    grad_a = _without_resets(zero_masked(grad_a, mask), resets)
    broadcast = [axis for axis, size in enumerate(a.shape) if size != grad_a.shape[axis]]
    first = -1 if reverse else 0
    grad_initial = _transition(lambda values: values[:, first], a, grad_b[:, first], mask, resets)
    return jnp.sum(grad_a, axis=broadcast, keepdims=True), grad_b, grad_initial, None, None


_states.defvjp(_forward, _backward)


def _following(values: jax.Array | None, reverse: bool) -> jax.Array | None:
    """Returns the values of the step that follows each step; those after the last do not matter."""
    if values is None or values.shape[1] == 1:
        return values
    return previous_states(values, values[:, 0], not reverse)


def _solve(a, b, initial, mask, resets, reverse, method):
    """Returns the states; b is zero at masked steps, and has the reset state at resets."""
    if method == "associative":
        a = where_mask(mask, jnp.broadcast_to(a, b.shape), jnp.ones_like(b))
        return _scan_associative(_without_resets(a, resets), b, initial, reverse)

    def step(state, b, at):
        return (_transition(at, a, state, mask, resets) + b,) * 2

    return scan_time(step, initial, b, reverse)[1]


def _transition(at: Index, a: jax.Array, state: jax.Array, mask, resets) -> jax.Array:
    """Returns the state before a step times its a: unchanged by a mask, zero at a reset."""
    product = (a[:, 0] if a.shape[1] == 1 else at(a)) * state
    product = where_mask(None if mask is None else at(mask), product, state)
    return _without_resets(product, None if resets is None else at(resets))


def _without_resets(values: jax.Array, resets: jax.Array | None) -> jax.Array:
    """Zeroes the steps with a reset, so that no NaN crosses it."""
    return zero_masked(values, None if resets is None else ~resets)


def _scan_associative(a, b, initial, reverse):
    first = -1 if reverse else 0
    b = b.at[:, first].add(_multiply(a[:, first], initial))

    def combine(left, right):
        return _multiply(right[0], left[0]), _multiply(right[0], left[1]) + right[1]

    return jax.lax.associative_scan(combine, (a, b), reverse=reverse, axis=1)[1]


def _multiply(a: jax.Array, state: jax.Array) -> jax.Array:
    """Returns the product, zero where a is, so that no NaN crosses a reset."""
    return jnp.where(a == 0, jnp.zeros_like(state), a * state)
