"""The recurrent highway network."""

import jax
import numpy as np
import pytest
from scipy.special import expit as sigmoid

from rnnjax.cells import RHNCell
from rnnjax.errors import InputError

from .reference import FEATURES, INPUTS, assert_close, assert_matches_equations, initial_params


def rhn(cell, p, state, x):
    """Zilly et al. (2017)."""
    (s,) = state
    for layer in range(1, cell.depth + 1):
        units = s @ p[f"recurrent_kernel_{layer}"]
        if layer == 1:
            units = units + x @ p["input"]["kernel"] + p["input"]["bias"]
        else:
            units = units + p[f"recurrent_bias_{layer}"]
        transform = sigmoid(units[:, FEATURES:])
        carry = 1 - transform
        s = np.tanh(units[:, :FEATURES]) * transform + s * carry
    return (s,), s


def test_equations():
    assert_matches_equations(RHNCell(FEATURES), rhn)


def test_initial_layers_are_orthogonal_and_closed():
    cell = RHNCell(4, depth=2, transform_bias=-100.0)
    params = initial_params(cell)
    for bias in (params["input"]["bias"], params["recurrent_bias_2"]):
        assert bias.tolist() == [0] * 4 + [-100] * 4
    first, second = params["recurrent_kernel_1"], params["recurrent_kernel_2"]
    assert_close(first @ first.T, np.eye(4))
    assert_close(second @ second.T, np.eye(4))
    assert not np.array_equal(first, second)
    state = np.linspace(-2, 2, 4, dtype=np.float32)[None]
    x = np.ones((1, INPUTS), np.float32)
    new, _ = jax.jit(cell.apply)({"params": params}, state, x)
    np.testing.assert_array_equal(new, state)


def test_invalid_depth_raises():
    with pytest.raises(InputError, match="depth: given 0, expected 1 or more"):
        RHNCell(FEATURES, depth=0)
