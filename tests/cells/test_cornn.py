"""The coupled oscillatory RNN."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.cells import CoRNNCell, CoRNNState
from rnnjax.layers import RNN

from .reference import FEATURES, INPUTS, assert_matches_equations, random_sequence


def cornn(cell, p, state, x):
    """Rusch and Mishra (2021)."""
    y, z = state
    of_y, of_z = p["recurrent_kernel"][:FEATURES], p["recurrent_kernel"][FEATURES:]
    force = np.tanh(y @ of_y + z @ of_z + x @ p["input"]["kernel"] + p["input"]["bias"])
    z_new = z + cell.dt * force - cell.dt * cell.gamma * y - cell.dt * cell.epsilon * z
    y_new = y + cell.dt * z_new
    return (y_new, z_new), y_new


def test_equations():
    assert_matches_equations(CoRNNCell(FEATURES, dt=0.5, gamma=1.3, epsilon=0.4), cornn)


@pytest.mark.parametrize(("dt", "stable"), [(0.98, True), (1.02, False)])
def test_free_oscillators_decay_only_if_the_time_step_is_short(dt, stable):
    gamma, epsilon = 2.0, 1.0
    assert (dt * (dt * gamma + 2 * epsilon) < 4) == stable
    cell = CoRNNCell(2, dt=dt, gamma=gamma, epsilon=epsilon)
    variables = jax.tree.map(jnp.zeros_like, random_sequence(cell)[0])
    state = CoRNNState(jnp.array([[1.0, -2.0]]), jnp.array([[0.5, 0.0]]))
    x = jnp.zeros((1, 300, INPUTS))
    final, _ = jax.jit(RNN(cell).apply)(variables, x, None, state)
    largest = np.abs(final.position)
    assert (largest < 1e-2).all() if stable else (largest > 10).all()
