"""The real-gated linear recurrent unit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import block_diag
from scipy.special import expit as sigmoid

from rnnjax.cells import RGLRUCell
from rnnjax.errors import InputError

from .reference import (
    FEATURES,
    INPUTS,
    assert_matches_equations,
    assert_uniform,
    initial_params,
    to_double,
)


def rglru(cell, p, state, x):
    """De et al. (2024), with a projection where inputs and features differ in number."""
    del cell
    (h,) = state
    x = x @ p["input"]["kernel"] + p["input"]["bias"] if "input" in p else x
    b_r, b_i = np.split(p["gate_bias"], 2, axis=-1)
    w_r, w_i = (block_diag(*blocks) for blocks in np.split(p["gate_kernel"], 2, axis=-1))
    a = sigmoid(p["decay"]) ** (8 * sigmoid(x @ w_r + b_r))
    h = a * h + np.sqrt(1 - a**2) * sigmoid(x @ w_i + b_i) * x
    return (h,), h


@pytest.mark.parametrize(("inputs", "blocks"), [(INPUTS, 1), (FEATURES, 2)])
def test_equations(inputs, blocks):
    assert_matches_equations(RGLRUCell(FEATURES, blocks=blocks), rglru, inputs)


def test_decay_starts_with_a_long_memory():
    p = jax.tree.map(to_double, initial_params(RGLRUCell(2000, blocks=500), inputs=2000))
    assert_uniform(sigmoid(p["decay"]) ** 8, 0.9, 0.999)
    assert abs(p["gate_kernel"].std() * 2 - 1) < 0.05  # a block has four inputs
    assert not p["gate_bias"].any()


def test_closed_gate_has_a_derivative():
    decay = 2.0
    p = {"gate_kernel": np.zeros((1, 1, 2), np.float32), "decay": np.full(1, decay, np.float32)}

    def new_state(gate):
        params = {**p, "gate_bias": jnp.stack([gate, 0.0 * gate])}
        return RGLRUCell(1).apply({"params": params}, jnp.zeros(1), jnp.ones(1))[0][0]

    gates = np.array([3.0, 0.0, -20.0, -60.0, -95.0, -300.0], np.float32)
    values, slopes = jax.jit(jax.vmap(jax.value_and_grad(new_state)))(gates)
    r, rate = sigmoid(np.float64(gates)), 8 * np.log1p(np.exp(-decay))
    roots = np.sqrt(-np.expm1(-2 * rate * r))
    expected = 0.5 * rate * np.exp(-2 * rate * r) * r * (1 - r) / roots
    # Below 1e-38 float32 underflows, and the root of that is the best there is.
    np.testing.assert_allclose(values, 0.5 * roots, rtol=2e-5, atol=1e-19)
    np.testing.assert_allclose(slopes, expected, rtol=2e-5, atol=1e-19)


def test_invalid_blocks_raise():
    with pytest.raises(InputError, match="blocks: given 4, expected a divisor of the 6 features"):
        RGLRUCell(6, blocks=4)
