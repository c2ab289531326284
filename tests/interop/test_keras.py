"""Conversion of weights to and from Keras, on its JAX backend."""

import functools

import jax
import keras
import numpy as np
import pytest

from rnnjax.cells import LSTMCell
from rnnjax.errors import InputError
from rnnjax.interop import from_keras, to_keras
from rnnjax.layers import RNN, Bidirectional, Stack

from .layers import (
    CELLS,
    FEATURES,
    INPUT,
    INPUTS,
    LAYERS,
    MASK,
    ROWS,
    TIME,
    assert_close,
    assert_same,
    make_layer,
    random_like,
    random_params,
    run,
)

pytestmark = pytest.mark.usefixtures("implicit_promotion")

ZERO_INITIALIZERS = {f"{name}_initializer": "zeros" for name in ("kernel", "recurrent", "bias")}
"""The weights are set later, and an orthogonal initialization is slow."""


def make_keras_layer(cell, bidirectional):
    """Returns the Keras layer that computes the equations of a cell."""
    options = {"return_sequences": True, "return_state": True, **ZERO_INITIALIZERS}
    if cell == "simple":
        layer = keras.layers.SimpleRNN(FEATURES, **options)
    elif cell == "lstm":
        layer = keras.layers.LSTM(FEATURES, **options)
    else:
        layer = keras.layers.GRU(FEATURES, reset_after=cell == "gru", **options)
    return keras.layers.Bidirectional(layer) if bidirectional else layer


class KerasModel:
    """The stack of Keras layers that corresponds to a layer of rnnjax."""

    def __init__(self, cell, layer):
        bidirectional = layer.endswith("bidirectional")
        self.stacked = layer.startswith("two")
        self.layers = [make_keras_layer(cell, bidirectional) for _ in range(1 + self.stacked)]
        for index, part in enumerate(self.layers):
            part.build((ROWS, TIME, FEATURES * (1 + bidirectional) if index else INPUTS))

    def draw(self, seed):
        """Sets random weights, biases included, and returns them as `get_weights` does."""
        for index, part in enumerate(self.layers):
            part.set_weights(random_like(part.get_weights(), seed + index))
        lists = [part.get_weights() for part in self.layers]
        return lists if self.stacked else lists[0]

    def set_weights(self, weights):
        lists = weights if self.stacked else [weights]
        for part, part_weights in zip(self.layers, lists, strict=True):
            part.set_weights(part_weights)

    def run(self):
        """Returns the outputs and the final states: by layer, forward first, h before c."""

        def run(variables):
            outputs, states = INPUT, []
            for part, part_variables in zip(self.layers, variables, strict=True):
                (outputs, *finals), *_ = part.stateless_call(*part_variables, outputs, mask=MASK)
                states += finals
            return [outputs, *states]

        variables = [
            (
                [v.value for v in part.trainable_variables],
                [v.value for v in part.non_trainable_variables],
            )
            for part in self.layers
        ]
        return [np.asarray(array) for array in jax.jit(run)(variables)]


@functools.cache
def draw_and_run(cell, layer):
    """Returns random weights, and the results of Keras for them."""
    keras_model = KerasModel(cell, layer)
    return keras_model.draw(seed=3), keras_model.run()


@pytest.mark.parametrize("layer", ["bidirectional", "two bidirectional"])
@pytest.mark.parametrize("cell", CELLS)
def test_outputs_and_states_equal_keras(cell, layer):
    rnnjax_layer = make_layer(cell, layer)
    weights, expected = draw_and_run(cell, layer)
    params = from_keras(rnnjax_layer, weights)
    assert_close(run(rnnjax_layer, params), expected)
    assert_same(to_keras(rnnjax_layer, params), weights)


@pytest.mark.parametrize("cell", CELLS)
def test_exported_weights_compute_same_function(cell):
    rnnjax_layer, keras_model = make_layer(cell, "single"), KerasModel(cell, "single")
    params = random_params(rnnjax_layer)
    keras_model.set_weights(to_keras(rnnjax_layer, params))
    assert_close(run(rnnjax_layer, params), keras_model.run())


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("cell", CELLS)
def test_round_trip_preserves_bits(cell, layer):
    rnnjax_layer = make_layer(cell, layer)
    params = random_params(rnnjax_layer)
    assert_same(from_keras(rnnjax_layer, to_keras(rnnjax_layer, params)), params)


def swap_gates(array, first, second, gates):
    parts = np.split(array, gates, axis=-1)
    parts[first], parts[second] = parts[second], parts[first]
    return np.concatenate(parts, axis=-1)


@pytest.mark.parametrize(
    ("cell", "mistake"),
    [
        ("lstm", lambda weights: [swap_gates(array, 2, 3, 4) for array in weights]),
        ("gru", lambda weights: [swap_gates(array, 0, 1, 3) for array in weights]),
        ("gru, reset before", lambda weights: [swap_gates(array, 0, 1, 3) for array in weights]),
        ("gru", lambda weights: [*weights[:2], weights[2][::-1], *weights[3:]]),
        ("lstm", lambda weights: [*weights[3:], *weights[:3]]),
        ("lstm", lambda weights: [*weights[:2], 0 * weights[2], *weights[3:]]),
    ],
)
def test_mistake_in_weights_changes_results(cell, mistake):
    rnnjax_layer = make_layer(cell, "bidirectional")
    weights, expected = draw_and_run(cell, "bidirectional")
    with pytest.raises(AssertionError, match="Mismatched elements"):
        assert_close(run(rnnjax_layer, from_keras(rnnjax_layer, mistake(weights))), expected)


KERNEL, RECURRENT, BIAS = np.ones((3, 16)), np.ones((4, 16)), np.ones(16)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([RECURRENT, KERNEL, BIAS], r"recurrent_kernel has the shape \(3, 16\), expected \(4, 16"),
        ([KERNEL[:, :12], RECURRENT, BIAS], r" kernel has the shape \(3, 12\), expected \(inputs,"),
        ([KERNEL, RECURRENT, np.ones((2, 16))], r"bias has the shape \(2, 16\), expected \(16,\)"),
        (
            [KERNEL, RECURRENT],
            "a list of 2 for layer 0, expected 3: kernel, recurrent_kernel, bias.*zeros",
        ),
        ([[KERNEL, RECURRENT, BIAS]], "given a list of 1 for layer 0, expected 3"),
        (KERNEL, "given ndarray for layer 0, expected 3"),
        ({"kernel": KERNEL}, "given dict for layer 0, expected 3"),
    ],
)
def test_invalid_list_raises(weights, message):
    with pytest.raises(InputError, match=message):
        from_keras(RNN(LSTMCell(4)), weights)


def test_invalid_lists_of_stack_raise():
    stack = Stack([Bidirectional(LSTMCell(4)), RNN(LSTMCell(4))])
    below, above = [KERNEL, RECURRENT, BIAS] * 2, [np.ones((8, 16)), RECURRENT, BIAS]
    from_keras(stack, [below, above])
    with pytest.raises(InputError, match="given a list of 9, expected 2: for each layer the list"):
        from_keras(stack, below + above)
    with pytest.raises(InputError, match="given dict, expected 2"):
        from_keras(stack, dict(enumerate([below, above])))  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match="of 3 for layer 0, expected 6: layer 0, forward kernel,"):
        from_keras(stack, [above, below])
    message = r"layer 1, kernel has the shape \(4, 16\), expected \(8, 16\)"
    with pytest.raises(InputError, match=message):
        from_keras(stack, [below, [RECURRENT, RECURRENT, BIAS]])
    message = r"layer 0, backward kernel has the shape \(4, 16\), expected \(3, 16\)"
    with pytest.raises(InputError, match=message):
        from_keras(stack, [[*below[:3], RECURRENT, RECURRENT, BIAS], above])


def test_gru_with_other_reset_raises():
    keras_model = KerasModel("gru", "single").draw(seed=5)
    with pytest.raises(InputError, match=r"bias has the shape \(2, 12\), expected \(12,\)"):
        from_keras(make_layer("gru, reset before", "single"), keras_model)
