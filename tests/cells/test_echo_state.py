"""The echo state cell and its reservoir."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.cells import EchoStateCell
from rnnjax.cells.echo_state import reservoir, spectral_radius
from rnnjax.errors import InputError
from rnnjax.layers import RNN

from .reference import FEATURES, INPUTS, assert_close, assert_matches_equations, initial_params


def echo_state(cell, p, state, x):
    """Jaeger (2007): leaky integration."""
    (s,) = state
    z = x @ p["input"]["kernel"] + p["input"]["bias"] + s @ p["recurrent_kernel"]
    s = s + cell.leak * (np.tanh(z) - s)
    return (s,), s


def largest_eigenvalue(matrix):
    return np.abs(np.linalg.eigvals(np.asarray(matrix, np.float64))).max()


def test_equations():
    assert_matches_equations(EchoStateCell(FEATURES, leak=0.3), echo_state)


@pytest.mark.parametrize("size", [1, 7, 100])
def test_spectral_radius_equals_numpy(size):
    for seed, scale in enumerate([1e-3, 0.5, 1.0, 40.0, 1e3]):
        matrix = scale * np.random.default_rng(seed).standard_normal((size, size))
        radius = spectral_radius(jnp.asarray(matrix, jnp.float32))
        np.testing.assert_allclose(radius, largest_eigenvalue(matrix), rtol=1e-5)


def test_spectral_radius_of_special_matrices():
    rotation, jordan, cycle = np.zeros((3, 4, 4), np.float32)
    rotation[:2, :2] = [[0, -3], [3, 0]]
    jordan[:2, :2] = [[2, 1], [0, 2]]
    cycle[[0, 1, 2], [1, 2, 0]] = 1, 2, 4
    for matrix, radius in ((rotation, 3), (jordan, 2), (cycle, 2), (np.eye(4), 1)):
        actual = spectral_radius(jnp.asarray(matrix, jnp.float32))
        np.testing.assert_allclose(actual, radius, rtol=1e-5)
    assert spectral_radius(jnp.triu(jnp.ones((4, 4)), 1)) == 0


@pytest.mark.parametrize(("radius", "connectivity"), [(0.9, 1.0), (1.25, 0.1), (0.3, 0.05)])
def test_reservoir_has_its_radius_and_connectivity(radius, connectivity):
    kernel = np.asarray(reservoir(radius, connectivity)(jax.random.key(0), (100, 100)))
    np.testing.assert_allclose(largest_eigenvalue(kernel), radius, rtol=2e-5)
    share = np.mean(kernel != 0)
    assert abs(share - connectivity) <= 4 * np.sqrt(connectivity * (1 - connectivity) / 1e4)
    entries = kernel[kernel != 0]
    assert abs(entries.mean()) < 0.1 * np.abs(entries).max()
    assert entries.min() < 0 < entries.max()


def test_reservoir_without_a_cycle_is_not_scaled():
    kernels = [reservoir(0.9, 0.12)(jax.random.key(seed), (4, 4)) for seed in range(8)]
    radii = [largest_eigenvalue(kernel) for kernel in kernels]
    np.testing.assert_allclose(sorted({round(radius, 5) for radius in radii}), [0, 0.9])
    nilpotent = [kernel for kernel, radius in zip(kernels, radii, strict=True) if radius == 0]
    assert 0 < np.abs(nilpotent).max() <= 1


def test_reservoir_in_bfloat16_has_its_radius():
    kernel = reservoir(0.9)(jax.random.key(0), (100, 100), jnp.bfloat16)
    assert kernel.dtype == jnp.bfloat16
    np.testing.assert_allclose(largest_eigenvalue(kernel), 0.9, rtol=2e-3)


@pytest.fixture(scope="module")
def new_cell():
    """A cell and its initial parameters."""
    cell = EchoStateCell(100, spectral_radius=0.6, connectivity=0.3, input_scale=0.2)
    return cell, initial_params(cell)


def test_initial_parameters_follow_the_attributes(new_cell):
    _, params = new_cell
    kernel = params["recurrent_kernel"]
    np.testing.assert_allclose(largest_eigenvalue(kernel), 0.6, rtol=2e-5)
    assert abs(np.mean(kernel != 0) - 0.3) < 0.02
    for part in params["input"].values():
        assert 0.19 < part.max() <= 0.2
        assert -0.2 <= part.min() < -0.19


def test_final_state_forgets_the_initial_one(new_cell):
    cell, params = new_cell
    x = np.random.default_rng(8).standard_normal((2, 60, INPUTS)).astype(np.float32)
    x[1] = x[0]
    state = np.random.default_rng(9).standard_normal((2, 100)).astype(np.float32)
    final, outputs = jax.jit(RNN(cell).apply)({"params": {"cell": params}}, x, None, state)
    assert np.abs(outputs[0, 0] - outputs[1, 0]).max() > 0.1
    assert_close(final[0], final[1], 2e-6)
    assert np.abs(outputs[0, -1] - outputs[0, -2]).max() > 0.1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"connectivity": 0.0}, "connectivity: given 0.0, expected a number above"),
        ({"leak": 1.5}, "leak: given 1.5, expected a number above 0, at most 1"),
        ({"spectral_radius": -0.5}, "spectral_radius: given -0.5"),
        ({"activation": "gelu"}, "activation: given 'gelu', expected one of tanh"),
    ],
)
def test_invalid_options_raise(options, message):
    with pytest.raises(InputError, match=re.escape(message)):
        EchoStateCell(FEATURES, **options)
