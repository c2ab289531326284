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


def make_keras_layer(name, **options):
    """Returns the Keras layer with the equations of a cell."""
    if name == "simple":
        return keras.layers.SimpleRNN(FEATURES, **options)
    if name == "lstm":
        return keras.layers.LSTM(FEATURES, **options)
    return keras.layers.GRU(FEATURES, reset_after=name == "gru", **options)


def randomise(layer, seed):
    """Sets random weights of a built Keras layer, biases included, and returns them."""
    rng = np.random.default_rng(seed)
    weights = [0.6 * rng.standard_normal(w.shape).astype(np.float32) for w in layer.weights]
    layer.set_weights(weights)
    return weights


def convert_keras_weights(name, kernel, recurrent, bias):
    """Converts Keras weights to a cell's parameters; a Keras GRU orders its gates z, r, n."""

    def reorder_gates(units):
        if not name.startswith("gru"):
            return units
        z, r, n = np.split(units, 3, axis=-1)
        return np.concatenate([r, z, n], axis=-1)

    params = {
        "input": {"kernel": reorder_gates(kernel)},
        "recurrent_kernel": reorder_gates(recurrent),
    }
    if name == "gru":
        params["input"]["bias"], params["recurrent_bias"] = map(reorder_gates, bias)
    else:
        params["input"]["bias"] = reorder_gates(bias)
    return params


def run(layer, params):
    """Returns the final states and the outputs, in NumPy arrays."""
    final, outputs = jax.jit(layer.apply)({"params": params}, INPUT, MASK)
    return [np.asarray(leaf) for leaf in jax.tree.leaves(final)], np.asarray(outputs)


def assert_close(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", CELLS)
def test_outputs_and_states_equal_keras(name):
    keras_layer = make_keras_layer(name, return_sequences=True, return_state=True)
    keras_layer.build(INPUT.shape)
    params = {"cell": convert_keras_weights(name, *randomise(keras_layer, 1))}
    expected, *states = map(np.asarray, keras_layer(INPUT, mask=MASK))
    finals, outputs = run(RNN(CELLS[name](FEATURES)), params)
    assert_close(outputs[MASK], expected[MASK])
    for actual, state in zip(finals, states, strict=True):
        assert_close(actual, state)


@pytest.mark.parametrize("name", CELLS)
def test_bidirectional_layer_equals_keras(name):
    keras_layer = keras.layers.Bidirectional(
        make_keras_layer(name, return_sequences=True, return_state=True), merge_mode="concat"
    )
    keras_layer.build(INPUT.shape)
    weights = randomise(keras_layer, 2)
    params = convert_bidirectional_weights(name, weights)
    expected, *states = map(np.asarray, keras_layer(INPUT, mask=MASK))
    finals, outputs = run(Bidirectional(CELLS[name](FEATURES)), params)
    assert_close(outputs[MASK], expected[MASK])
    for actual, state in zip(finals, states, strict=True):
        assert_close(actual, state)


def convert_bidirectional_weights(name, weights):
    """Converts the weights of a bidirectional Keras layer, forward ones first."""
    return {
        direction: {"cell": convert_keras_weights(name, *part)}
        for direction, part in (("forward", weights[:3]), ("backward", weights[3:]))
    }


@pytest.mark.parametrize("merge", ["concat", "sum", "mul", "ave"])
def test_last_output_of_two_layers_equals_keras(merge):
    keras_layers = [
        keras.layers.Bidirectional(make_keras_layer("lstm", return_sequences=True)),
        keras.layers.Bidirectional(make_keras_layer("lstm"), merge_mode=merge),
    ]
    keras_layers[0].build(INPUT.shape)
    keras_layers[1].build((ROWS, TIME, 2 * FEATURES))
    params = {
        f"layers_{index}": convert_bidirectional_weights("lstm", randomise(layer, index))
        for index, layer in enumerate(keras_layers)
    }
    hidden = keras_layers[0](INPUT, mask=MASK)
    expected = np.asarray(keras_layers[1](hidden, mask=MASK))
    cell = LSTMCell(FEATURES)
    layer = Stack([Bidirectional(cell), Bidirectional(cell.clone(), merge, return_sequences=False)])
    _, outputs = run(layer, params)
    assert_close(outputs, expected)


def convert_flax_params(name, params):
    """Converts flax parameters, which have a matrix for each gate."""
    gates = {"simple": [""], "lstm": [*"ifgo"], "gru": [*"rzn"]}[name]
    inputs = [params[f"i{gate}"] for gate in gates]
    recurrent = [params[f"h{gate}"] for gate in gates]

    def concatenate(parts, kind):
        zero = np.zeros(FEATURES, np.float32)
        return np.concatenate([part.get(kind, zero) for part in parts], axis=-1)

    bias, recurrent_bias = concatenate(inputs, "bias"), concatenate(recurrent, "bias")
    converted = {
        "input": {"kernel": concatenate(inputs, "kernel"), "bias": bias},
        "recurrent_kernel": concatenate(recurrent, "kernel"),
    }
    if name == "gru":
        return {**converted, "recurrent_bias": recurrent_bias}
    converted["input"]["bias"] = bias + recurrent_bias
    return converted


@pytest.mark.parametrize("name", ["simple", "lstm", "gru"])
def test_outputs_and_states_equal_flax(name):
    cell = {"simple": nn.SimpleCell, "lstm": nn.LSTMCell, "gru": nn.GRUCell}[name](FEATURES)
    flax_layer = nn.RNN(cell, return_carry=True)
    shapes = jax.eval_shape(flax_layer.init, jax.random.key(0), INPUT)["params"]["cell"]
    rng = np.random.default_rng(3)
    params = jax.tree.map(
        lambda leaf: 0.6 * rng.standard_normal(leaf.shape).astype(leaf.dtype), shapes
    )
    final, expected = flax_layer.apply({"params": {"cell": params}}, INPUT, seq_lengths=LENGTHS)
    states = [np.asarray(state) for state in jax.tree.leaves(final)]
    states = states[::-1] if name == "lstm" else states  # flax has (c, h)
    finals, outputs = run(RNN(CELLS[name](FEATURES)), {"cell": convert_flax_params(name, params)})
    assert_close(outputs[MASK], np.asarray(expected)[MASK])
    for actual, state in zip(finals, states, strict=True):
        assert_close(actual, state)
