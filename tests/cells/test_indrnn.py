"""The independently recurrent cell."""

import numpy as np
import pytest

from rnnjax.cells import IndRNNCell
from rnnjax.errors import InputError

from .reference import FEATURES, assert_matches_equations, assert_uniform, initial_params

ACTIVATIONS = {"relu": lambda z: np.maximum(z, 0), "tanh": np.tanh}


def indrnn(cell, p, state, x):
    """Li et al. (2018)."""
    (h,) = state
    z = x @ p["input"]["kernel"] + p["input"]["bias"] + p["recurrent_kernel"] * h
    h = ACTIVATIONS[cell.activation](z)
    return (h,), h


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_equations(activation):
    assert_matches_equations(IndRNNCell(FEATURES, activation=activation), indrnn)


def test_recurrent_kernel_starts_uniform_in_the_unit_interval():
    assert_uniform(initial_params(IndRNNCell(2000))["recurrent_kernel"], 0, 1)


def test_invalid_activation_raises():
    with pytest.raises(InputError, match="'swish', expected one of tanh, relu"):
        IndRNNCell(FEATURES, activation="swish")
