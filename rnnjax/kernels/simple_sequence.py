"""A whole sequence of the simple recurrent network with a hand-written derivative."""

import functools
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from rnnjax.kernels.masking import where_mask, zero_masked
from rnnjax.kernels.time_scan import (
    kernel_gradient,
    previous_states,
    read_state,
    scan_time,
    split_gradient,
)

Activation = Literal["tanh", "relu", "identity"]


def fused_simple(
    projected: Float[Array, "batch time features"],
    recurrent_kernel: Float[Array, "features features"],
    state: Float[Array, "batch features"],
    mask: Bool[Array, "batch time"] | None,
    reverse: bool,
    activation: Activation = "tanh",
    resets: Bool[Array, "batch time"] | None = None,
    reset_state: Float[Array, "batch features"] | None = None,
) -> tuple[Float[Array, "batch features"], Float[Array, "batch time features"]]:
    """Runs `rnnjax.cells.SimpleCell` over time, under the mask rule.

    The derivative of each of these activations follows from its value, so that the states are all
    that the forward pass saves. Reverse mode only.

    Args:
      projected: the inputs' part of the sum. Its dtype is that of the product.
      recurrent_kernel: of the state.
      state: before the first step. Its dtype is that of the sum and of the states.
      mask: True where a step is real; None if all are.
      reverse: from the last step to the first.
      activation: applied to the sum.
      resets: True where a step begins from `reset_state`; None for nowhere.
      reset_state: as `state`, needed with `resets`.

    Returns:
      The state after the last step, and the states, zero at masked steps, in the dtype of
      `projected`.
    """
    result: Any = _simple(
        projected, recurrent_kernel, state, mask, resets, reset_state, reverse, activation
    )
    return result


@functools.partial(jax.custom_vjp, nondiff_argnums=(6, 7))
def _simple(*arguments):
    return _forward(*arguments)[0]


def _forward(projected, recurrent_kernel, state, mask, resets, reset_state, reverse, activation):
    kernel = recurrent_kernel.astype(projected.dtype)
    activate = {"tanh": jnp.tanh, "relu": jax.nn.relu, "identity": lambda x: x}[activation]

    def step(state, inputs, at):
        state = read_state(at, resets, reset_state, state)
        product = state.astype(kernel.dtype) @ kernel
        new = activate(inputs + product.astype(state.dtype))
        if mask is not None:
            new = where_mask(at(mask), new, state)
        return new, new

    final, states = scan_time(step, state, projected.astype(state.dtype), reverse)
    outputs = zero_masked(states, mask).astype(projected.dtype)
    return (final, outputs), (recurrent_kernel, state, mask, resets, reset_state, states)


def _backward(reverse, activation, residuals, cotangents):
    recurrent_kernel, state, mask, resets, reset_state, states = residuals
    grad_state, grad_outputs = cotangents
    dtype = grad_outputs.dtype
    slopes = {
        "tanh": lambda y: 1 - y * y,
        "relu": lambda y: (y > 0).astype(y.dtype),
        "identity": jnp.ones_like,
    }
    slope = zero_masked(slopes[activation](states), mask)
    grad_outputs = zero_masked(grad_outputs.astype(states.dtype), mask)
    kernel = recurrent_kernel.T.astype(dtype)

    def step(carry, slope, at):
        grad_state, grad_reset = carry
        grad_sum = ((grad_state + at(grad_outputs)) * slope).astype(dtype)
        grad_previous = (grad_sum @ kernel).astype(grad_state.dtype)
        if mask is not None:
            grad_previous = where_mask(at(mask), grad_previous, grad_state)
        carry = split_gradient(at, resets, grad_previous, grad_reset)
        return carry, grad_sum.astype(slope.dtype)

    carry = grad_state, jax.tree.map(jnp.zeros_like, reset_state)
    (grad_state, grad_reset), grad_projected = scan_time(step, carry, slope, not reverse)
    grad_projected = grad_projected.astype(dtype)
    previous = previous_states(states, state, reverse, resets, reset_state)
    grad_kernel = kernel_gradient(previous, grad_projected, recurrent_kernel)
    return grad_projected, grad_kernel, grad_state, None, None, grad_reset


_simple.defvjp(_forward, _backward)
