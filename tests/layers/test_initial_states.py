"""Validation of an explicit initial state."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.cells import (
    GRUCell,
    LearnedInitialState,
    LSTMCell,
    LSTMState,
    MinGRUCell,
    RecurrentDropout,
)
from rnnjax.errors import InputError
from rnnjax.layers import RNN, Bidirectional, Stack

ROWS, TIME, FEATURES = 2, 3, 4
INPUT = np.random.default_rng(0).standard_normal((ROWS, TIME, 3)).astype(np.float32)
FIRST = np.random.default_rng(1).standard_normal((ROWS, FEATURES)).astype(np.float32)
SECOND = np.random.default_rng(2).standard_normal((ROWS, FEATURES)).astype(np.float32)
HALF = jnp.asarray(FIRST, jnp.bfloat16)


@pytest.mark.parametrize("engine", ["scan", "fused"])
def test_plain_tuple_is_an_lstm_state(engine):
    layer = RNN(LSTMCell(FEATURES), engine=engine)
    variables = layer.init(jax.random.key(0), INPUT)
    final, outputs = layer.apply(variables, INPUT, None, (FIRST, SECOND))
    assert isinstance(final, LSTMState)
    same, expected = layer.apply(
        variables, INPUT, None, LSTMState(*map(jnp.asarray, (FIRST, SECOND)))
    )
    jax.tree.map(np.testing.assert_array_equal, (final, outputs), (same, expected))


def test_nested_tuple_becomes_a_named_tuple():
    layer = RNN(RecurrentDropout(LSTMCell(FEATURES), 0.5))
    variables = layer.init(jax.random.key(0), INPUT)
    keep = np.ones_like(FIRST)
    final, _ = layer.apply(variables, INPUT, None, ((FIRST, SECOND), keep))
    assert isinstance(final.state, LSTMState)


def test_explicit_state_creates_no_parameters_or_masks():
    layer = RNN(LearnedInitialState(GRUCell(FEATURES)))
    params = layer.init(jax.random.key(0), INPUT, None, FIRST)["params"]
    assert set(params["cell"]) == {"cell"}
    layer = RNN(RecurrentDropout(GRUCell(FEATURES, update_dropout=0.5), 0.5))
    variables = layer.init(jax.random.key(0), INPUT)
    state = layer.apply(variables, INPUT, rngs={"dropout": jax.random.key(1)})[0]
    final, _ = layer.apply(variables, INPUT, None, state, rngs={"dropout": jax.random.key(2)})
    np.testing.assert_array_equal(final.keep, state.keep)


def test_float64_numpy_states_become_float32():
    layer = RNN(GRUCell(FEATURES))
    final, _ = layer.init_with_output(jax.random.key(0), INPUT, None, FIRST.astype(np.float64))[0]
    assert final.dtype == jnp.float32


LSTM, GRU = RNN(LSTMCell(FEATURES)), RNN(GRUCell(FEATURES))
ASSOCIATIVE = RNN(MinGRUCell(FEATURES), engine="associative")
MISTAKES: dict[str, tuple[Any, Any, str]] = {
    "another structure": (
        GRU,
        (FIRST, SECOND),
        r"given \(float32.*expected float32\[2, 4\], .*GRU",
    ),
    "one part": (LSTM, FIRST, r"given float32\[2, 4\], expected LSTMState\(hidden=float32\[2, 4\]"),
    "a part too many": (LSTM, (FIRST, SECOND, FIRST), "expected LSTMState"),
    "a list": (LSTM, [FIRST, SECOND], r"given \[float32.*expected LSTMState"),
    "one row for two": (ASSOCIATIVE, FIRST[:1], r"given float32\[1, 4\], expected float32\[2, 4\]"),
    "a row": (
        GRU,
        FIRST[0],
        r"given float32\[4\], expected float32\[2, 4\], a part of GRUCell.initial_state",
    ),
    "a part of another size": (
        LSTM,
        (FIRST, SECOND[:, :2]),
        r"initial_state\.cell: given float32\[2, 2\], expected float32\[2, 4\]",
    ),
    "a rounded state": (GRU, HALF, r"given bfloat16\[2, 4\], expected float32\[2, 4\]"),
    "a rounded part": (LSTM, (HALF, FIRST), r"initial_state\.hidden: given bfloat16"),
    "numbers": (LSTM, (0.0, 0.0), r"initial_state\.hidden: given 0.0, expected float32\[2, 4\]"),
    "of flax": (RNN(nn.GRUCell(FEATURES)), FIRST[:1], r"given float32\[1, 4\]"),
    "one for both directions": (
        Bidirectional(GRUCell(FEATURES)),
        FIRST,
        "expected a pair of states",
    ),
    "three for two directions": (
        Bidirectional(GRUCell(FEATURES)),
        (FIRST, FIRST, FIRST),
        "given a tuple of 3, expected a pair",
    ),
    "a state of one of two layers": (
        Stack([RNN(GRUCell(FEATURES)), RNN(GRUCell(FEATURES))]),
        (FIRST,),
        "given a tuple of 1, expected a state for each of the 2 layers",
    ),
    "an array for a stack": (Stack([GRU]), FIRST, "expected a state for each of the 1 layers"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_invalid_states_raise(mistake):
    layer, state, words = MISTAKES[mistake]
    with pytest.raises(InputError, match=words):
        layer.init(jax.random.key(0), INPUT, None, state)
