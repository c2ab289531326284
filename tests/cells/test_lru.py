"""The linear recurrent unit, whose state is complex."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from rnnjax.cells import LRUCell
from rnnjax.errors import InputError
from rnnjax.layers import RNN

from .reference import (
    FEATURES,
    assert_matches_equations,
    assert_uniform,
    initial_params,
    random_like,
    to_double,
)

ZEROS: Any = dict.fromkeys(("kernel_init", "output_init", "skip_init"), nn.initializers.zeros)


def lru(cell, p, state, x):
    """Orvieto et al. (2023)."""
    del cell
    (s,) = state
    eigenvalues = np.exp(-np.exp(p["nu_log"]) + 1j * np.exp(p["theta_log"]))
    b_real, b_imaginary = np.split(p["input"]["kernel"], 2, axis=-1)
    c_real, c_imaginary = np.split(p["output_kernel"], 2)
    s = eigenvalues * s + np.exp(p["gamma_log"]) * (x @ (b_real + 1j * b_imaginary))
    return (s,), (s @ (c_real + 1j * c_imaginary)).real + x @ p["skip"]["kernel"]


@pytest.mark.parametrize("state_features", [0, 9])
def test_equations(state_features):
    assert_matches_equations(LRUCell(FEATURES, state_features=state_features), lru)


def test_float64_parameters_make_complex128_states_and_exact_gradients():
    with jax.enable_x64(True):
        layer = RNN(LRUCell(2, param_dtype=jnp.float64))
        x = random_like(jax.ShapeDtypeStruct((2, 3, 3), jnp.float64), 1)
        returned, variables = jax.eval_shape(layer.init_with_output, jax.random.key(0), x)
        assert [leaf.dtype for leaf in returned] == [jnp.complex128, jnp.float64]
        mask = np.array([[True, False, True], [True, True, True]])
        run = jax.jit(lambda variables, x, state: layer.apply(variables, x, mask, state))
        arguments = random_like(variables, 2), x, random_like(returned[0], 3)
        check_grads(run, arguments, order=1, modes=["rev"], eps=1e-5, atol=1e-7, rtol=1e-7)


@pytest.mark.parametrize("ring", [{}, {"r_min": 0.9, "r_max": 0.99, "max_phase": 0.6}])
def test_initial_eigenvalues_are_uniform_in_their_ring(ring):
    p = jax.tree.map(to_double, initial_params(LRUCell(1, state_features=3000, **ring, **ZEROS)))
    square = np.exp(-2 * np.exp(p["nu_log"]))
    assert_uniform(square, ring.get("r_min", 0.0) ** 2, ring.get("r_max", 1.0) ** 2 + 1e-6)
    assert_uniform(np.exp(p["theta_log"]), 0, ring.get("max_phase", 2 * np.pi) + 1e-6)
    np.testing.assert_allclose(np.exp(2 * p["gamma_log"]), 1 - square, rtol=1e-3, atol=1e-7)


def test_initial_kernels_have_the_variances_of_the_paper():
    p = initial_params(LRUCell(4, state_features=3000), inputs=50)
    b, c, d = p["input"]["kernel"], p["output_kernel"], p["skip"]["kernel"]
    for kernel, variance in ((b, 1 / 100), (c, 1 / 3000), (d, 1 / 50)):
        assert abs(kernel.var() / variance - 1) < 5 * (2 / kernel.size) ** 0.5
        assert abs(kernel.mean()) < 5 * (variance / kernel.size) ** 0.5


@pytest.mark.parametrize(("ring", "uniform"), [({}, 0.0), ({"r_min": 0.95}, 1 - 2.0**-24)])
def test_initial_parameters_are_finite_at_the_ends_of_the_uniform(ring, uniform, monkeypatch):
    def draw(key, shape, dtype, low, high):
        return jnp.full(shape, low + (high - low) * uniform, dtype)

    monkeypatch.setattr(jax.random, "uniform", draw)
    p = initial_params(LRUCell(4, **ring, **ZEROS))
    for name in ("nu_log", "theta_log", "gamma_log"):
        assert np.isfinite(p[name]).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"state_features": -1}, "state_features: given -1"),
        ({"r_min": 0.5, "r_max": 0.5}, "given 0.5 and 0.5, expected 0 <= r_min < r_max"),
        ({"r_max": 1.1}, "given 0.0 and 1.1"),
        ({"max_phase": 0.0}, "max_phase: given 0.0"),
    ],
)
def test_invalid_options_raise(options, message):
    with pytest.raises(InputError, match=message):
        LRUCell(FEATURES, **options)
