"""The minimal LSTM."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit as sigmoid

from rnnjax.cells import MinLSTMCell

from .reference import FEATURES, assert_matches_equations, assert_positive_option
from .test_min_gru import positive_candidate


def min_lstm(cell, p, state, x):
    """Feng et al. (2024), with the gates divided by their sum."""
    (h,) = state
    f, i, new = np.split(x @ p["input"]["kernel"] + p["input"]["bias"], 3, axis=-1)
    f, i = sigmoid(f), sigmoid(i)
    new = positive_candidate(new) if cell.positive else new
    h = f / (f + i) * h + i / (f + i) * new
    return (h,), h


@pytest.mark.parametrize("positive", [False, True])
def test_equations(positive):
    assert_matches_equations(MinLSTMCell(FEATURES, positive=positive), min_lstm)


def test_positive_option_keeps_outputs_above_zero():
    assert_positive_option(MinLSTMCell(FEATURES))


def test_equal_gates_average_state_and_candidate():
    cell = MinLSTMCell(1)
    for gate in (-300.0, 300.0):
        params = {"input": {"kernel": jnp.zeros((1, 3)), "bias": jnp.array([gate, gate, 1.0])}}
        state, _ = cell.apply({"params": params}, jnp.full((1, 1), 3.0), jnp.ones((1, 1)))
        np.testing.assert_allclose(state, 2.0, rtol=1e-6)
