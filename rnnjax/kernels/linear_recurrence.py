"""Linear recurrences over the time axis, and their derivative: the same recurrence run back."""

import functools
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Inexact

from rnnjax.kernels.masking import where_mask, zero_masked
from rnnjax.kernels.time_scan import previous_states, scan_time

Method = Literal["loop", "associative"]


def linear_recurrence(
    a: Inexact[Array, "batch time *#state"],
    b: Inexact[Array, "batch time *state"],
    initial_state: Inexact[Array, "batch ..."],
    mask: Bool[Array, "batch time"] | None = None,
    reverse: bool = False,
    resets: Bool[Array, "batch time"] | None = None,
    reset_state: Inexact[Array, "batch ..."] | None = None,
    method: Method = "loop",
) -> Inexact[Array, "batch time *state"]:
    r"""Computes :math:`s_t = a_t \odot s_{t-1} + b_t` under the mask rule.

    A masked step has a = 1 and b = 0. A step with a reset reads `reset_state` in the place of the
    state before it: its b becomes :math:`b_t + a_t s_0` and its a zero. The gradient of b is a
    linear recurrence in the other direction, so that the states are all that is saved. Reverse mode
    only.

    Source: Martin, Cundy, Parallelizing linear recurrent neural nets over sequence length, ICLR
    2018, for the associative scan and the derivative.

    Args:
      a: `[batch, time, *state]`, real or complex; an axis of size one is broadcast against b's.
      b: `[batch, time, *state]`, in the dtype of the states.
      initial_state: `[batch, *state]`, before the first step that is read.
      mask: True where a step is real; None if all are.
      reverse: from the last step to the first.
      resets: True where a step begins from `reset_state`; None if none does.
      reset_state: `[batch, *state]`, needed with `resets`.
      method: 'loop' runs step by step, 'associative' is a parallel scan of logarithmic depth.

    Returns:
      The state after each step.
    """
    a = where_mask(mask, a, jnp.ones_like(a))
    b = zero_masked(b, mask)
    if resets is not None:
        assert reset_state is not None
        b = where_mask(resets, b + a * reset_state[:, None], b)
        a = where_mask(resets, jnp.zeros_like(a), a)
    states: Any = _states(jnp.broadcast_to(a, b.shape), b, initial_state, reverse, method)
    return states


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _states(a, b, initial, reverse, method):
    return _solve(a, b, initial, reverse, method)


def _forward(a, b, initial, reverse, method):
    states = _solve(a, b, initial, reverse, method)
    return states, (a, initial, states)


def _backward(reverse, method, residuals, cotangents):
    a, initial, states = residuals
    first_step = -1 if reverse else 0
    # The factor of the step that follows; the last one has none.
    following = previous_states(a, jnp.zeros_like(initial), not reverse)
    grad_b = _solve(following, cotangents, jnp.zeros_like(initial), not reverse, method)
    grad_a = grad_b * previous_states(states, initial, reverse)
    return grad_a, grad_b, _multiply(a[:, first_step], grad_b[:, first_step])


_states.defvjp(_forward, _backward)


def _solve(a, b, initial, reverse, method):
    if method == "loop":
        return scan_time(
            lambda state, b, at: (_multiply(at(a), state) + b,) * 2, initial, b, reverse
        )[1]
    first_step = -1 if reverse else 0
    b = b.at[:, first_step].add(_multiply(a[:, first_step], initial))

    def combine(left, right):
        return _multiply(right[0], left[0]), _multiply(right[0], left[1]) + right[1]

    return jax.lax.associative_scan(combine, (a, b), reverse=reverse, axis=1)[1]


def _multiply(a: jax.Array, state: jax.Array) -> jax.Array:
    """Returns the product, zero where a is, so that no NaN crosses a reset."""
    return jnp.where(a == 0, jnp.zeros_like(state), a * state)
