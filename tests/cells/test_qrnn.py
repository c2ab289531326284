"""The quasi-recurrent cell."""

import jax
import numpy as np
import pytest
from scipy.special import expit as sigmoid

from rnnjax.cells import QRNNCell
from rnnjax.errors import InputError
from rnnjax.layers import RNN

from .reference import (
    FEATURES,
    ROWS,
    TIME,
    assert_close,
    assert_matches_equations,
    random_sequence,
)


def qrnn(cell, p, state, x):
    """Bradbury et al. (2017) with f-, fo- or ifo-pooling; a window of two keeps a product."""
    c, previous = state if cell.window == 2 else (*state, 0)
    gates = x @ p["input"]["kernel"] + p["input"]["bias"] + previous
    z, *gates = np.split(gates, len(cell.pooling) + 1, axis=-1)
    gates = dict(zip(cell.pooling, map(sigmoid, gates), strict=True))
    f = gates["f"]
    c = f * c + gates.get("i", 1 - f) * np.tanh(z)
    h = gates.get("o", 1) * c
    return ((c, x @ p["previous"]["kernel"]) if cell.window == 2 else (c,)), h


@pytest.mark.parametrize(
    "options",
    [{}, {"pooling": "f"}, {"pooling": "f", "window": 1}, {"pooling": "ifo"}],
    ids=str,
)
def test_equations(options):
    assert_matches_equations(QRNNCell(FEATURES, **options), qrnn)


def test_window_of_two_is_a_causal_convolution():
    cell = QRNNCell(FEATURES)
    variables, x, _ = random_sequence(cell)
    p = variables["params"]["cell"]
    shifted = np.pad(x, ((0, 0), (1, 0), (0, 0)))[:, :-1]
    gates = x @ p["input"]["kernel"] + p["input"]["bias"] + shifted @ p["previous"]["kernel"]
    z, f, o = np.split(gates, 3, axis=-1)
    c, expected = np.zeros((ROWS, FEATURES)), []
    for time in range(TIME):
        forget = sigmoid(f[:, time])
        c = forget * c + (1 - forget) * np.tanh(z[:, time])
        expected.append(sigmoid(o[:, time]) * c)
    _, outputs = jax.jit(RNN(cell).apply)(variables, x)
    assert_close(outputs, np.stack(expected, axis=1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": 3}, "window: given 3, expected one of 1, 2"),
        ({"pooling": "o"}, "given 'o', expected one of f, fo, ifo"),
    ],
)
def test_invalid_options_raise(options, message):
    with pytest.raises(InputError, match=message):
        QRNNCell(FEATURES, **options)
