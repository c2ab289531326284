"""Long expressive memory."""

import jax
import numpy as np
import pytest

from rnnjax.cells import LEMCell
from rnnjax.errors import InputError
from rnnjax.layers import RNN

from .reference import FEATURES, assert_matches_equations, random_sequence


def logistic(x):
    """The sigma-hat of the paper, 0.5 (1 + tanh(x / 2))."""
    return 0.5 * (1 + np.tanh(x / 2))


def lem(cell, p, state, x):
    """Rusch et al. (2022), equation 3."""
    y, z = state
    w1, w2, w_z = (p["recurrent_kernel"][:, i * FEATURES : (i + 1) * FEATURES] for i in range(3))
    v1, v2, v_z, v_y = np.split(p["input"]["kernel"], 4, axis=1)
    b1, b2, b_z, b_y = np.split(p["input"]["bias"], 4)
    step = cell.dt * logistic(y @ w1 + x @ v1 + b1)
    step_bar = cell.dt * logistic(y @ w2 + x @ v2 + b2)
    z_new = z + step * (np.tanh(y @ w_z + x @ v_z + b_z) - z)
    y_new = y + step_bar * (np.tanh(z_new @ p["memory_kernel"] + x @ v_y + b_y) - y)
    return (y_new, z_new), y_new


@pytest.mark.parametrize("dt", [1.0, 0.3])
def test_equations(dt):
    assert_matches_equations(LEMCell(FEATURES, dt=dt), lem)


def test_states_stay_between_minus_one_and_one_for_large_inputs():
    """Proposition 4.1: the hidden states are bounded by 1."""
    cell = LEMCell(FEATURES)
    variables, x, state = random_sequence(cell)
    zeros = jax.tree.map(np.zeros_like, state)
    final, outputs = jax.jit(RNN(cell).apply)(variables, 100 * x, None, zeros)
    for values in (*final, outputs):
        assert abs(values).max() <= 1
    assert abs(outputs).max() > 0.9


@pytest.mark.parametrize("dt", [0.0, 1.5])
def test_invalid_time_step_raises(dt):
    with pytest.raises(InputError, match=f"dt: given {dt}"):
        LEMCell(FEATURES, dt=dt)
