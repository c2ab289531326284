"""A state that a caller gives: what of it counts as a state of the cell, by every engine."""

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
ONE = np.random.default_rng(1).standard_normal((ROWS, FEATURES)).astype(np.float32)
OTHER = np.random.default_rng(2).standard_normal((ROWS, FEATURES)).astype(np.float32)
HALF = jnp.asarray(ONE, jnp.bfloat16)


@pytest.mark.parametrize("engine", ["scan", "fused"])
def test_a_plain_tuple_is_the_state_of_an_lstm_by_every_engine(engine):
    layer = RNN(LSTMCell(FEATURES), engine=engine)
    variables = layer.init(jax.random.key(0), INPUT)
    final, outputs = layer.apply(variables, INPUT, None, (ONE, OTHER))
    assert isinstance(final, LSTMState)
    same, expected = layer.apply(variables, INPUT, None, LSTMState(*map(jnp.asarray, (ONE, OTHER))))
    jax.tree.map(np.testing.assert_array_equal, (final, outputs), (same, expected))


def test_a_tuple_within_a_state_is_named_as_well():
    layer = RNN(RecurrentDropout(LSTMCell(FEATURES), 0.5))
    variables = layer.init(jax.random.key(0), INPUT)
    keep = np.ones_like(ONE)
    final, _ = layer.apply(variables, INPUT, None, ((ONE, OTHER), keep))
    assert isinstance(final.state, LSTMState)


def test_a_given_state_makes_and_draws_nothing():
    layer = RNN(LearnedInitialState(GRUCell(FEATURES)))
    params = layer.init(jax.random.key(0), INPUT, None, ONE)["params"]
    assert set(params["cell"]) == {"cell"}
    layer = RNN(RecurrentDropout(GRUCell(FEATURES, update_dropout=0.5), 0.5))
    variables = layer.init(jax.random.key(0), INPUT)
    given = layer.apply(variables, INPUT, rngs={"dropout": jax.random.key(1)})[0]
    final, _ = layer.apply(variables, INPUT, None, given, rngs={"dropout": jax.random.key(2)})
    np.testing.assert_array_equal(final.keep, given.keep)


def test_doubles_of_numpy_are_what_jax_makes_of_them():
    layer = RNN(GRUCell(FEATURES))
    final, _ = layer.init_with_output(jax.random.key(0), INPUT, None, ONE.astype(np.float64))[0]
    assert final.dtype == jnp.float32


LSTM, GRU = RNN(LSTMCell(FEATURES)), RNN(GRUCell(FEATURES))
ASSOCIATIVE = RNN(MinGRUCell(FEATURES), engine="associative")
MISTAKES: dict[str, tuple[Any, Any, str]] = {
    "another structure": (GRU, (ONE, OTHER), r"given \(float32.*expected float32\[2, 4\], .*GRU"),
    "one part": (LSTM, ONE, r"given float32\[2, 4\], expected LSTMState\(hidden=float32\[2, 4\]"),
    "a part too many": (LSTM, (ONE, OTHER, ONE), "expected LSTMState"),
    "a list": (LSTM, [ONE, OTHER], r"given \[float32.*expected LSTMState"),
    "one row for two": (ASSOCIATIVE, ONE[:1], r"given float32\[1, 4\], expected float32\[2, 4\]"),
    "a row": (GRU, ONE[0], r"given float32\[4\], expected float32\[2, 4\], as GRUCell begins"),
    "a part of another size": (
        LSTM,
        (ONE, OTHER[:, :2]),
        r"initial_state\.cell: given float32\[2, 2\], expected float32\[2, 4\]",
    ),
    "a rounded state": (GRU, HALF, r"given bfloat16\[2, 4\], expected float32\[2, 4\]"),
    "a rounded part": (LSTM, (HALF, ONE), r"initial_state\.hidden: given bfloat16"),
    "numbers": (LSTM, (0.0, 0.0), r"initial_state\.hidden: given 0.0, expected float32\[2, 4\]"),
    "of flax": (RNN(nn.GRUCell(FEATURES)), ONE[:1], r"given float32\[1, 4\]"),
    "one for both directions": (Bidirectional(GRUCell(FEATURES)), ONE, "expected a pair of states"),
    "three for two directions": (
        Bidirectional(GRUCell(FEATURES)),
        (ONE, ONE, ONE),
        "given a tuple of 3, expected a pair",
    ),
    "a state of one of two layers": (
        Stack([RNN(GRUCell(FEATURES)), RNN(GRUCell(FEATURES))]),
        (ONE,),
        "given a tuple of 1, expected a state for each of the 2 layers",
    ),
    "an array for a stack": (Stack([GRU]), ONE, "expected a state for each of the 1 layers"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_what_is_no_state_of_the_cell_is_refused_and_the_part_is_named(mistake):
    layer, state, words = MISTAKES[mistake]
    with pytest.raises(InputError, match=words):
        layer.init(jax.random.key(0), INPUT, None, state)
