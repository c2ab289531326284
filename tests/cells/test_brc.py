"""The bistable recurrent cell."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize

from rnnjax.cells import BRCCell
from rnnjax.layers import RNN

from .reference import (
    FEATURES,
    INPUTS,
    assert_matches_equations,
    initial_params,
    random_sequence,
)


def brc(cell, p, state, x):
    """Vecoven, Ernst, Drion (2021)."""
    (h,) = state
    u_a, u_c, u = np.split(p["input"]["kernel"], 3, axis=1)
    b_a, b_c, b = np.split(p["input"]["bias"], 3)
    w_a, w_c = np.split(p["recurrent_kernel"], 2, axis=-1)
    if not cell.neuromodulated:
        w_a, w_c = np.diag(w_a), np.diag(w_c)
    a = 1 + np.tanh(x @ u_a + h @ w_a + b_a)
    c = 1 / (1 + np.exp(-(x @ u_c + h @ w_c + b_c)))
    h = c * h + (1 - c) * np.tanh(x @ u + a * h + b)
    return (h,), h


@pytest.mark.parametrize("neuromodulated", [False, True])
def test_equations(neuromodulated):
    assert_matches_equations(BRCCell(FEATURES, neuromodulated=neuromodulated), brc)


def test_a_unit_is_bistable_where_its_feedback_is_above_one():
    """Without inputs the states go to the solutions of h = tanh(a h): zero, or one of two."""
    feedback = np.array([0.5, 0.9, 1.3, 1.8])
    cell = BRCCell(4)
    variables = jax.tree.map(jnp.zeros_like, random_sequence(cell)[0])
    bias = np.concatenate([np.arctanh(feedback - 1), np.zeros(8)]).astype(np.float32)
    variables["params"]["cell"]["input"]["bias"] = bias
    state = np.array([[0.2] * 4, [-0.2] * 4, [0.9] * 4], np.float32)
    final, _ = jax.jit(RNN(cell).apply)(variables, np.zeros((3, 400, INPUTS)), None, state)
    roots = np.zeros(4)
    for unit, a in enumerate(feedback):
        if a > 1:
            root: Any = optimize.brentq(lambda h, a=a: np.tanh(a * h) - h, 0.05, 1.0)
            roots[unit] = root
    np.testing.assert_allclose(final, [roots, -roots, roots], atol=1e-5)


def test_initial_recurrent_kernels():
    vector = initial_params(BRCCell(500))["recurrent_kernel"]
    assert vector.shape == (1000,)
    assert 0.99 < abs(vector).max() <= 1
    matrix = initial_params(BRCCell(4, neuromodulated=True))["recurrent_kernel"]
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(4), atol=1e-5)
