"""Liquid time constants."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.cells import LTCCell
from rnnjax.errors import InputError
from rnnjax.layers import RNN

from .reference import FEATURES, assert_matches_equations, random_sequence


def ltc(cell, p, state, x):
    """Hasani et al. (2021), algorithm 1: the fused solver."""
    (h,) = state
    elapsed = np.ones((len(x), 1))
    if cell.elapsed_time:
        x, elapsed = x[:, :-1], np.where(x[:, -1:] < 0, 0.0, x[:, -1:])
    tau = 1 / np.log1p(np.exp(p["leak"]))
    dt = elapsed / cell.unfoldings
    for _ in range(cell.unfoldings):
        z = x @ p["input"]["kernel"] + h @ p["recurrent_kernel"] + p["input"]["bias"]
        f = 1 / (1 + np.exp(-z))
        h = (h + dt * f * p["target"]) / (1 + dt * (1 / tau + f))
    return (h,), h


@pytest.mark.parametrize("elapsed_time", [False, True])
def test_equations(elapsed_time):
    cell = LTCCell(FEATURES, unfoldings=3, elapsed_time=elapsed_time)
    assert_matches_equations(cell, ltc)


def test_states_are_bounded_by_zero_and_the_target():
    """Theorem 2: min(0, A) <= h <= max(0, A), for inputs of any size and steps of any length."""
    cell = LTCCell(FEATURES, elapsed_time=True)
    variables, x, _ = random_sequence(cell)
    target = variables["params"]["cell"]["target"]
    _, outputs = jax.jit(RNN(cell).apply)(variables, 50 * x)
    outputs = np.asarray(outputs)
    assert (outputs >= np.minimum(target, 0) - 1e-6).all()
    assert (outputs <= np.maximum(target, 0) + 1e-6).all()
    assert abs(outputs).max() > 0.3 * abs(target).max()


def test_short_steps_follow_the_differential_equation():
    """The solver converges, at order one, to the solution by a Runge-Kutta method of order four."""
    cell = LTCCell(FEATURES)
    variables, x, state = random_sequence(cell)
    p = variables["params"]["cell"]

    def derivative(h):
        z = x[:, 0] @ p["input"]["kernel"] + h @ p["recurrent_kernel"] + p["input"]["bias"]
        f = 1 / (1 + np.exp(-z))
        return -(np.log1p(np.exp(p["leak"])) + f) * h + f * p["target"]

    h, dt = np.float64(state), 1 / 20
    for _ in range(20):
        k1 = derivative(h)
        k2 = derivative(h + dt / 2 * k1)
        k3 = derivative(h + dt / 2 * k2)
        k4 = derivative(h + dt * k3)
        h = h + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    projected = cell.bind({"params": p}).project(x[:, 0])
    errors = []
    for unfoldings in (4, 8):
        solver = cell.clone(unfoldings=unfoldings).bind({"params": p})
        errors.append(abs(np.asarray(solver.step(state, projected)[0]) - h).max())
    assert 1.7 < errors[0] / errors[1] < 2.3


@pytest.mark.parametrize("elapsed", [0.0, -2.0])
def test_no_elapsed_time_keeps_the_state(elapsed):
    cell = LTCCell(FEATURES, elapsed_time=True)
    variables, x, state = random_sequence(cell)
    x[..., -1] = elapsed
    final, _ = jax.jit(RNN(cell).apply)(variables, x, None, state)
    np.testing.assert_array_equal(final, state)


def test_invalid_unfoldings_and_inputs_raise():
    with pytest.raises(InputError, match="unfoldings: given 0"):
        LTCCell(FEATURES, unfoldings=0)
    cell = LTCCell(FEATURES, elapsed_time=True)
    with pytest.raises(InputError, match="inputs: given 1 channel, expected values and"):
        cell.init(jax.random.key(0), jnp.zeros((1, 1)), method="project")
