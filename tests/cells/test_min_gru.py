"""The minimal GRU."""

import numpy as np
import pytest
from scipy.special import expit as sigmoid

from rnnjax.cells import MinGRUCell

from .reference import FEATURES, assert_matches_equations, assert_positive_option


def positive_candidate(z):
    """Returns the paper's g, which is above zero."""
    return np.where(z >= 0, z + 0.5, sigmoid(z))


def min_gru(cell, p, state, x):
    """Feng et al. (2024)."""
    (h,) = state
    z, new = np.split(x @ p["input"]["kernel"] + p["input"]["bias"], 2, axis=-1)
    new = positive_candidate(new) if cell.positive else new
    h = (1 - sigmoid(z)) * h + sigmoid(z) * new
    return (h,), h


@pytest.mark.parametrize("positive", [False, True])
def test_equations(positive):
    assert_matches_equations(MinGRUCell(FEATURES, positive=positive), min_gru)


def test_positive_option_keeps_outputs_above_zero():
    assert_positive_option(MinGRUCell(FEATURES))
