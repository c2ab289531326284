"""The multiplicative LSTM."""

import numpy as np
from scipy.special import expit as sigmoid

from rnnjax.cells import MultiplicativeLSTMCell

from .reference import FEATURES, ZERO_KERNELS, assert_matches_equations, initial_params


def multiplicative_lstm(cell, p, state, x):
    """Krause et al. (2016)."""
    del cell
    h, c = state
    m = (x @ p["input_factor"]["kernel"]) * (h @ p["recurrent_kernel_factor"])
    z = x @ p["input"]["kernel"] + p["input"]["bias"] + m @ p["recurrent_kernel"]
    i, f, g, o = np.split(z, 4, axis=1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    h = sigmoid(o) * np.tanh(c)
    return (h, c), h


def test_equations():
    assert_matches_equations(MultiplicativeLSTMCell(FEATURES), multiplicative_lstm)


def test_forget_bias_starts_at_one():
    bias = initial_params(MultiplicativeLSTMCell(1, **ZERO_KERNELS))["input"]["bias"]
    assert bias.tolist() == [0, 1, 0, 0]
