"""Cells compared with Keras and flax on the same weights, over ragged batches."""

import flax.linen as nn
import jax
import keras
import numpy as np
import pytest

from rnnjax.cells import GRUCell, LSTMCell, SimpleCell
from rnnjax.layers import RNN, Bidirectional, Stack

pytestmark = pytest.mark.usefixtures("implicit_promotion")

ROWS, TIME, INPUTS, FEATURES = 5, 7, 3, 4
INPUT = np.random.default_rng(0).standard_normal((ROWS, TIME, INPUTS)).astype(np.float32)
LENGTHS = np.array([7, 1, 4, 6, 2])
MASK = np.arange(TIME) < LENGTHS[:, None]

CELLS = {
    "simple": SimpleCell,
    "lstm": LSTMCell,
    "gru": GRUCell,
    "gru, reset before": lambda features: GRUCell(features, reset_after=False),
}


def in_keras(name, **options):
    """Returns the layer of Keras that has the mathematics of a cell."""
    if name == "simple":
        return keras.layers.SimpleRNN(FEATURES, **options)
    if name == "lstm":
        return keras.layers.LSTM(FEATURES, **options)
    return keras.layers.GRU(FEATURES, reset_after=name == "gru", **options)


def randomise(layer, seed):
    """Gives a built Keras layer new weights, biases included, and returns them."""
    rng = np.random.default_rng(seed)
    weights = [0.6 * rng.standard_normal(w.shape).astype(np.float32) for w in layer.weights]
    layer.set_weights(weights)
    return weights


def from_keras(name, kernel, recurrent, bias):
    """Returns a cell's parameters from Keras' weights; its gates of a GRU stand as z, r, n."""

    def ordered(units):
        if not name.startswith("gru"):
            return units
        z, r, n = np.split(units, 3, axis=-1)
        return np.concatenate([r, z, n], axis=-1)

    params = {"input": {"kernel": ordered(kernel)}, "recurrent_kernel": ordered(recurrent)}
    if name == "gru":
        params["input"]["bias"], params["recurrent_bias"] = map(ordered, bias)
    else:
        params["input"]["bias"] = ordered(bias)
    return params


def run(layer, params):
    """Returns the final states and the outputs, in NumPy arrays."""
    final, outputs = jax.jit(layer.apply)({"params": params}, INPUT, MASK)
    return [np.asarray(leaf) for leaf in jax.tree.leaves(final)], np.asarray(outputs)


def assert_close(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", CELLS)
def test_outputs_and_states_are_those_of_keras(name):
    theirs = in_keras(name, return_sequences=True, return_state=True)
    theirs.build(INPUT.shape)
    params = {"cell": from_keras(name, *randomise(theirs, 1))}
    expected, *states = map(np.asarray, theirs(INPUT, mask=MASK))
    finals, outputs = run(RNN(CELLS[name](FEATURES)), params)
    assert_close(outputs[MASK], expected[MASK])
    for actual, state in zip(finals, states, strict=True):
        assert_close(actual, state)


@pytest.mark.parametrize("name", CELLS)
def test_a_bidirectional_layer_is_that_of_keras(name):
    theirs = keras.layers.Bidirectional(
        in_keras(name, return_sequences=True, return_state=True), merge_mode="concat"
    )
    theirs.build(INPUT.shape)
    weights = randomise(theirs, 2)
    params = bidirectional(name, weights)
    expected, *states = map(np.asarray, theirs(INPUT, mask=MASK))
    finals, outputs = run(Bidirectional(CELLS[name](FEATURES)), params)
    assert_close(outputs[MASK], expected[MASK])
    for actual, state in zip(finals, states, strict=True):
        assert_close(actual, state)


def bidirectional(name, weights):
    """Returns the parameters of our layer from those of Keras, forward ones first."""
    return {
        direction: {"cell": from_keras(name, *part)}
        for direction, part in (("forward", weights[:3]), ("backward", weights[3:]))
    }


@pytest.mark.parametrize("merge", ["concat", "sum", "mul", "ave"])
def test_the_last_output_of_two_layers_is_that_of_keras(merge):
    theirs = [
        keras.layers.Bidirectional(in_keras("lstm", return_sequences=True)),
        keras.layers.Bidirectional(in_keras("lstm"), merge_mode=merge),
    ]
    theirs[0].build(INPUT.shape)
    theirs[1].build((ROWS, TIME, 2 * FEATURES))
    params = {
        f"layers_{index}": bidirectional("lstm", randomise(layer, index))
        for index, layer in enumerate(theirs)
    }
    between = theirs[0](INPUT, mask=MASK)
    expected = np.asarray(theirs[1](between, mask=MASK))
    cell = LSTMCell(FEATURES)
    ours = Stack([Bidirectional(cell), Bidirectional(cell.clone(), merge, return_sequences=False)])
    _, outputs = run(ours, params)
    assert_close(outputs, expected)


def from_flax(name, params):
    """Returns a cell's parameters from those of flax, which has a matrix for each gate."""
    gates = {"simple": [""], "lstm": [*"ifgo"], "gru": [*"rzn"]}[name]
    given = [params[f"i{gate}"] for gate in gates], [params[f"h{gate}"] for gate in gates]

    def joined(parts, kind):
        zero = np.zeros(FEATURES, np.float32)
        return np.concatenate([part.get(kind, zero) for part in parts], axis=-1)

    inputs, recurrent = given
    bias, recurrent_bias = joined(inputs, "bias"), joined(recurrent, "bias")
    ours = {
        "input": {"kernel": joined(inputs, "kernel"), "bias": bias},
        "recurrent_kernel": joined(recurrent, "kernel"),
    }
    if name == "gru":
        return {**ours, "recurrent_bias": recurrent_bias}
    ours["input"]["bias"] = bias + recurrent_bias
    return ours


@pytest.mark.parametrize("name", ["simple", "lstm", "gru"])
def test_outputs_and_states_are_those_of_flax(name):
    cell = {"simple": nn.SimpleCell, "lstm": nn.LSTMCell, "gru": nn.GRUCell}[name](FEATURES)
    theirs = nn.RNN(cell, return_carry=True)
    shapes = jax.eval_shape(theirs.init, jax.random.key(0), INPUT)["params"]["cell"]
    rng = np.random.default_rng(3)
    params = jax.tree.map(
        lambda leaf: 0.6 * rng.standard_normal(leaf.shape).astype(leaf.dtype), shapes
    )
    final, expected = theirs.apply({"params": {"cell": params}}, INPUT, seq_lengths=LENGTHS)
    states = [np.asarray(state) for state in jax.tree.leaves(final)]
    states = states[::-1] if name == "lstm" else states  # theirs is (c, h)
    finals, outputs = run(RNN(CELLS[name](FEATURES)), {"cell": from_flax(name, params)})
    assert_close(outputs[MASK], np.asarray(expected)[MASK])
    for actual, state in zip(finals, states, strict=True):
        assert_close(actual, state)
