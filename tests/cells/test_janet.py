"""JANET."""

import numpy as np
import pytest
from scipy.special import expit as sigmoid

from rnnjax.cells import JANETCell

from .reference import FEATURES, ZERO_KERNELS, assert_matches_equations, initial_params


def janet(cell, p, state, x):
    """JANET, van der Westhuizen and Lasenby (2018)."""
    (h,) = state
    w_f, w_g = np.split(p["input"]["kernel"], 2, axis=1)
    u_f, u_g = np.split(p["recurrent_kernel"], 2, axis=1)
    b_f, b_g = np.split(p["input"]["bias"], 2)
    s = x @ w_f + h @ u_f + b_f
    h = sigmoid(s) * h + (1 - sigmoid(s - cell.beta)) * np.tanh(x @ w_g + h @ u_g + b_g)
    return (h,), h


@pytest.mark.parametrize("options", [{}, {"beta": 0.3}], ids=str)
def test_equations(options):
    assert_matches_equations(JANETCell(FEATURES, **options), janet)


def test_forget_bias_starts_at_one():
    bias = initial_params(JANETCell(2, **ZERO_KERNELS))["input"]["bias"]
    assert bias.tolist() == [1, 1, 0, 0]
