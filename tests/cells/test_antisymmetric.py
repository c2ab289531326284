"""The antisymmetric RNN."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit as sigmoid

from rnnjax.cells import AntisymmetricCell

from .reference import FEATURES, INPUTS, assert_close, assert_matches_equations, initial_params


def antisymmetric(cell, p, state, x):
    """Chang et al. (2019)."""
    (h,) = state
    w = p["recurrent_kernel"].T
    matrix = w - w.T - cell.gamma * np.eye(FEATURES)
    recurrent = np.stack([matrix @ row for row in h])
    drive = x @ p["input"]["kernel"] + p["input"]["bias"]
    change = cell.epsilon * np.tanh(recurrent + drive[:, :FEATURES])
    if cell.gated:
        change = change * sigmoid(recurrent + drive[:, FEATURES:])
    return (h + change,), h + change


@pytest.mark.parametrize("options", [{}, {"epsilon": 0.7, "gamma": 0.2, "gated": True}], ids=str)
def test_equations(options):
    assert_matches_equations(AntisymmetricCell(FEATURES, **options), antisymmetric)


@pytest.mark.parametrize("gated", [False, True])
def test_jacobian_at_rest_is_antisymmetric_but_for_the_diffusion(gated):
    cell = AntisymmetricCell(FEATURES, epsilon=0.25, gamma=0.125, gated=gated)
    params = initial_params(cell)

    def step(state):
        return cell.apply({"params": params}, state, jnp.zeros(INPUTS))[0]

    jacobian = np.asarray(jax.jit(jax.jacobian(step))(jnp.zeros(FEATURES)))
    # At rest the gate is a half.
    flow = (jacobian - np.eye(FEATURES)) / (0.125 if gated else 0.25)
    assert_close(flow + flow.T, -2 * 0.125 * np.eye(FEATURES), 2e-6)
    assert np.abs(flow).max() > 0.5
    np.testing.assert_allclose(np.linalg.eigvals(flow).real, -0.125, atol=1e-5)


def test_initial_kernels_are_normal():
    params = initial_params(AntisymmetricCell(100), inputs=50)
    recurrent_kernel, kernel = params["recurrent_kernel"], params["input"]["kernel"]
    assert abs(np.var(recurrent_kernel) * 100 - 1) < 0.1
    assert abs(np.var(kernel) * 50 - 1) < 0.1
    # A uniform distribution of this variance ends at 1.73 deviations, a truncated one at 2.3.
    assert np.abs(recurrent_kernel).max() > 0.3
    assert not params["input"]["bias"].any()
