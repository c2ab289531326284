"""Linear recurrences against a loop in NumPy, under masks and resets."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.kernels.linear_recurrence import Method, linear_recurrence

ROWS, TIME, STATE = 3, 9, 2
RANDOM = np.random.default_rng(0)
MASK = RANDOM.random((ROWS, TIME)) < 0.7
RESETS = RANDOM.random((ROWS, TIME)) < 0.3
A = RANDOM.uniform(0.2, 0.9, (ROWS, TIME, STATE)).astype(np.float32)
B, INITIAL, RESET = (
    RANDOM.normal(size=shape).astype(np.float32)
    for shape in ((ROWS, TIME, STATE), (ROWS, STATE), (ROWS, STATE))
)
METHODS: tuple[Method, ...] = ("loop", "associative")


def solve(a, reverse, method: Method):
    return linear_recurrence(
        a,
        jnp.asarray(B),
        jnp.asarray(INITIAL),
        jnp.asarray(MASK),
        reverse,
        jnp.asarray(RESETS),
        jnp.asarray(RESET),
        method,
    )


def states_of_loop(a, reverse):
    a, states = np.broadcast_to(a, B.shape), np.zeros(B.shape)
    for row in range(ROWS):
        state = INITIAL[row].astype(np.float64)
        for step in reversed(range(TIME)) if reverse else range(TIME):
            if RESETS[row, step]:
                state = RESET[row].astype(np.float64)
            if MASK[row, step]:
                state = a[row, step] * state + B[row, step]
            states[row, step] = state
    return states


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("steps", [TIME, 1])
def test_states_are_those_of_the_loop(steps, reverse, method):
    a = A[:, :steps]
    actual = solve(jnp.asarray(a), reverse, method)
    np.testing.assert_allclose(actual, states_of_loop(a, reverse), rtol=1e-5)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("reverse", [False, True])
def test_gradient_of_a_constant_transition_is_that_of_its_copies(reverse, method):
    constant = jnp.asarray(A[:1, :1])

    def loss(a):
        return jnp.sum(jnp.sin(solve(a, reverse, method)))

    copies = jax.grad(loss)(jnp.broadcast_to(constant, B.shape))
    summed = jnp.sum(copies, axis=(0, 1), keepdims=True)
    np.testing.assert_allclose(jax.grad(loss)(constant), summed, rtol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_a_masked_step_reaches_no_gradient(method):
    damaged = jnp.where(jnp.asarray(MASK)[..., None], jnp.asarray(A), jnp.nan)

    def loss(a, b, initial, reset):
        mask, resets = jnp.asarray(MASK), jnp.asarray(RESETS)
        return jnp.sum(linear_recurrence(a, b, initial, mask, False, resets, reset, method) ** 2)

    arguments = tuple(map(jnp.asarray, (B, INITIAL, RESET)))
    gradients = jax.grad(loss, argnums=(0, 1, 2, 3))
    actual, expected = gradients(damaged, *arguments), gradients(jnp.asarray(A), *arguments)
    for leaf, clean in zip(actual, expected, strict=True):
        np.testing.assert_allclose(leaf, clean, rtol=1e-5)
