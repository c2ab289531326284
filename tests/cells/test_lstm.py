"""The LSTM and its options."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit as sigmoid

from rnnjax.cells import LSTMCell, LSTMState, forget_bias
from rnnjax.errors import InputError

from .reference import (
    FEATURES,
    INPUTS,
    ROWS,
    TIME,
    ZERO_KERNELS,
    assert_matches_equations,
    initial_params,
)

PROJECTION = 3
OPTIONS = {
    "plain": {},
    "peepholes": {"peepholes": True},
    "projection": {"projection": PROJECTION},
    "coupled": {"coupled": True},
    "update dropout": {"update_dropout": 0.25},
    "peepholes, projection, coupled": {
        "peepholes": True,
        "projection": PROJECTION,
        "coupled": True,
    },
}


def lstm(cell, p, state, x):
    """The LSTM with peepholes (Gers 2002), projection (Sak 2014) and coupled gates."""
    h, c = state
    z = x @ p["input"]["kernel"] + p["input"]["bias"] + h @ p["recurrent_kernel"]
    peepholes = p.get("recurrent_kernel_peepholes", np.zeros((3, FEATURES)))
    if cell.coupled:
        f, g, o = (z[:, k * FEATURES : (k + 1) * FEATURES] for k in range(3))
        p_f, p_o = peepholes[-2:]
        f = sigmoid(f + p_f * c)
        i = 1 - f
    else:
        i, f, g, o = (z[:, k * FEATURES : (k + 1) * FEATURES] for k in range(4))
        p_i, p_f, p_o = peepholes
        i, f = sigmoid(i + p_i * c), sigmoid(f + p_f * c)
    c = f * c + i * np.tanh(g)
    h = sigmoid(o + p_o * c) * np.tanh(c)
    if cell.projection:
        h = h @ p["projection_kernel"]
    return (h, c), h


@pytest.mark.parametrize("name", OPTIONS)
def test_equations(name):
    assert_matches_equations(LSTMCell(FEATURES, **OPTIONS[name]), lstm)


def test_options_keep_parameter_shapes():
    params = initial_params(LSTMCell(FEATURES, **ZERO_KERNELS))
    assert jax.tree.map(jnp.shape, params) == {
        "input": {"kernel": (INPUTS, 4 * FEATURES), "bias": (4 * FEATURES,)},
        "recurrent_kernel": (FEATURES, 4 * FEATURES),
    }
    more = initial_params(LSTMCell(FEATURES, peepholes=True, update_dropout=0.5, **ZERO_KERNELS))
    assert not more.pop("recurrent_kernel_peepholes").any()
    assert jax.tree.map(jnp.shape, more) == jax.tree.map(jnp.shape, params)


def test_projection_sets_the_size_of_the_hidden_state():
    cell = LSTMCell(FEATURES, projection=PROJECTION)
    state = cell.initial_state((2, 7, INPUTS))
    assert state.hidden.shape == (2, 7, PROJECTION)
    assert state.cell.shape == (2, 7, FEATURES)
    assert not any(leaf.any() for leaf in state)
    variables = {"params": initial_params(cell)}
    new, output = cell.apply(variables, state, jnp.ones((2, 7, INPUTS)))
    assert isinstance(new, LSTMState)
    assert jax.tree.map(jnp.shape, new) == jax.tree.map(jnp.shape, state)
    np.testing.assert_array_equal(output, new.hidden)


def test_forget_bias_starts_at_one_or_as_set():
    params = initial_params(LSTMCell(7, **ZERO_KERNELS))
    assert params["input"]["bias"].tolist() == [0.0] * 7 + [1.0] * 7 + [0.0] * 14
    params = initial_params(forget_bias(LSTMCell(7, **ZERO_KERNELS), 3.0))
    assert params["input"]["bias"].tolist() == [0.0] * 7 + [3.0] * 7 + [0.0] * 14
    params = initial_params(LSTMCell(7, coupled=True, **ZERO_KERNELS))
    assert params["input"]["bias"].tolist() == [1.0] * 7 + [0.0] * 14


@pytest.mark.parametrize(
    "options",
    [{"peepholes": True}, {"projection": 2}, {"coupled": True}, {"update_dropout": 0.1}],
    ids=lambda options: next(iter(options)),
)
def test_only_the_plain_lstm_is_fused(options):
    assert LSTMCell(FEATURES).fusible
    cell = LSTMCell(FEATURES, **options)
    assert not cell.fusible
    state = cell.initial_state((ROWS, INPUTS))
    with pytest.raises(InputError, match="given an LSTMCell with options"):
        cell.fused(state, jnp.ones((ROWS, TIME, 4 * FEATURES)), None, False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"projection": -1}, "projection: given -1"),
        ({"projection": 2.5}, "projection: given 2.5"),
        ({"features": 0}, "features: given 0, expected 1 or more"),
    ],
)
def test_invalid_options_raise(options, message):
    with pytest.raises(InputError, match=message):
        LSTMCell(**{"features": FEATURES, **options})
