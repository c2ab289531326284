"""Undamped independent controlled oscillators."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.cells import UnICORNNCell, UnICORNNState
from rnnjax.errors import InputError

from .reference import FEATURES, ROWS, assert_matches_equations, initial_params, random_sequence


def unicornn(cell, p, state, x):
    """Rusch and Mishra (2021), equation 4."""
    y, z = state
    dt = cell.dt * 0.5 * (1 + np.tanh(p["step_size"] / 2))
    force = np.tanh(p["recurrent_kernel"] * y + x @ p["input"]["kernel"] + p["input"]["bias"])
    z_new = z - dt * force - dt * cell.alpha * y
    y_new = y + dt * z_new
    return (y_new, z_new), y_new


def test_equations():
    assert_matches_equations(UnICORNNCell(FEATURES, dt=0.7, alpha=1.3), unicornn)


def test_a_step_preserves_volume_and_can_be_inverted():
    cell = UnICORNNCell(FEATURES, dt=0.9, alpha=2.0)
    variables, x, state = random_sequence(cell)
    p = variables["params"]["cell"]
    bound = cell.bind({"params": p})
    force = bound.project(x[:, 0])

    def step_row(y, z, force):
        new, _ = bound.step(UnICORNNState(y, z), force)
        return jnp.concatenate(new)

    jacobians = jax.jit(jax.vmap(jax.jacfwd(step_row, argnums=(0, 1))))(*state, force)
    determinants = np.linalg.det(np.concatenate(jacobians, axis=-1).astype(np.float64))
    np.testing.assert_allclose(determinants, np.ones(ROWS), rtol=1e-5)

    y, z = (np.asarray(part) for part in bound.step(state, force)[0])
    force = np.asarray(force)
    dt = cell.dt / (1 + np.exp(-p["step_size"]))
    y_old = y - dt * z
    z_old = z + dt * (np.tanh(p["recurrent_kernel"] * y_old + force) + cell.alpha * y_old)
    np.testing.assert_allclose(y_old, state.position, atol=1e-6)
    np.testing.assert_allclose(z_old, state.velocity, atol=1e-6)


def test_initial_values_of_the_paper():
    p = initial_params(UnICORNNCell(500))
    assert 0 <= p["recurrent_kernel"].min() < 0.02
    assert 0.98 < p["recurrent_kernel"].max() < 1
    assert abs(p["step_size"]).max() <= 0.1 < abs(p["step_size"]).max() + 0.01
    assert not p["input"]["bias"].any()


@pytest.mark.parametrize("options", [{"dt": 0.0}, {"alpha": -1.0}])
def test_invalid_options_raise(options):
    ((name, value),) = options.items()
    with pytest.raises(InputError, match=f"{name}: given {value}"):
        UnICORNNCell(FEATURES, **options)
