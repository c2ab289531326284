"""The GRU, with its reset gate after and before the product."""

import numpy as np
import pytest
from scipy.special import expit as sigmoid

from rnnjax.cells import GRUCell

from .reference import FEATURES, assert_matches_equations


def gru(cell, p, state, x):
    """Cho et al. (2014): the reset gate scales the state, or its product as in cuDNN."""
    (h,) = state
    i_r, i_z, i_n = np.split(x @ p["input"]["kernel"] + p["input"]["bias"], 3, axis=1)
    u_r, u_z, u_n = np.split(p["recurrent_kernel"], 3, axis=1)
    b_r, b_z, b_n = np.split(p.get("recurrent_bias", np.zeros(3 * FEATURES)), 3)
    r, z = sigmoid(i_r + h @ u_r + b_r), sigmoid(i_z + h @ u_z + b_z)
    product = r * (h @ u_n + b_n) if cell.reset_after else (r * h) @ u_n
    h = (1 - z) * np.tanh(i_n + product) + z * h
    return (h,), h


@pytest.mark.parametrize("options", [{}, {"reset_after": False}, {"update_dropout": 0.25}], ids=str)
def test_equations(options):
    assert_matches_equations(GRUCell(FEATURES, **options), gru)
