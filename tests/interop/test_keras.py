"""Weights to and from Keras, on its JAX backend."""

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
    drawn,
    make,
    params_of,
    run,
)

pytestmark = pytest.mark.usefixtures("rank_promotion")

QUICK = {f"{name}_initializer": "zeros" for name in ("kernel", "recurrent", "bias")}
"""The weights are set afterwards, and an orthogonal matrix takes its time."""


def in_keras(cell, both):
    """Returns the layer of Keras that has the mathematics of a cell."""
    options = {"return_sequences": True, "return_state": True, **QUICK}
    if cell == "simple":
        layer = keras.layers.SimpleRNN(FEATURES, **options)
    elif cell == "lstm":
        layer = keras.layers.LSTM(FEATURES, **options)
    else:
        layer = keras.layers.GRU(FEATURES, reset_after=cell == "gru", **options)
    return keras.layers.Bidirectional(layer) if both else layer


class Theirs:
    """The layers of Keras that make up one of ours, one on top of the other."""

    def __init__(self, cell, layer):
        both = layer.endswith("both")
        self.stacked = layer.startswith("two")
        self.layers = [in_keras(cell, both) for _ in range(1 + self.stacked)]
        for index, each in enumerate(self.layers):
            each.build((ROWS, TIME, FEATURES * (1 + both) if index else INPUTS))

    def draw(self, seed):
        """Gives the layers new weights, biases included, and returns what they then give."""
        for index, each in enumerate(self.layers):
            each.set_weights(drawn(each.get_weights(), seed + index))
        lists = [each.get_weights() for each in self.layers]
        return lists if self.stacked else lists[0]

    def set_weights(self, weights):
        for each, given in zip(self.layers, weights if self.stacked else [weights], strict=True):
            each.set_weights(given)

    def run(self):
        """Returns the outputs and the final states: by layer, forward first, h before c."""

        def run(variables):
            outputs, states = INPUT, []
            for each, given in zip(self.layers, variables, strict=True):
                (outputs, *finals), *_ = each.stateless_call(*given, outputs, mask=MASK)
                states += finals
            return [outputs, *states]

        variables = [
            (
                [v.value for v in each.trainable_variables],
                [v.value for v in each.non_trainable_variables],
            )
            for each in self.layers
        ]
        return [np.asarray(part) for part in jax.jit(run)(variables)]


@functools.cache
def drawn_and_run(cell, layer):
    """Returns random weights, and what Keras computes with them."""
    theirs = Theirs(cell, layer)
    return theirs.draw(seed=3), theirs.run()


@pytest.mark.parametrize("layer", ["both", "two, both"])
@pytest.mark.parametrize("cell", CELLS)
def test_outputs_and_states_are_those_of_keras(cell, layer):
    ours = make(cell, layer)
    weights, expected = drawn_and_run(cell, layer)
    params = from_keras(ours, weights)
    assert_close(run(ours, params), expected)
    assert_same(to_keras(ours, params), weights)


@pytest.mark.parametrize("cell", CELLS)
def test_what_goes_to_keras_is_the_same_function_there(cell):
    ours, theirs = make(cell, "one"), Theirs(cell, "one")
    params = params_of(ours)
    theirs.set_weights(to_keras(ours, params))
    assert_close(run(ours, params), theirs.run())


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("cell", CELLS)
def test_ours_come_back_from_keras_bit_for_bit(cell, layer):
    ours = make(cell, layer)
    params = params_of(ours)
    assert_same(from_keras(ours, to_keras(ours, params)), params)


def swapped(array, one, other, gates):
    parts = np.split(array, gates, axis=-1)
    parts[one], parts[other] = parts[other], parts[one]
    return np.concatenate(parts, axis=-1)


@pytest.mark.parametrize(
    ("cell", "mistake"),
    [
        ("lstm", lambda given: [swapped(array, 2, 3, 4) for array in given]),
        ("gru", lambda given: [swapped(array, 0, 1, 3) for array in given]),
        ("gru, reset before", lambda given: [swapped(array, 0, 1, 3) for array in given]),
        ("gru", lambda given: [*given[:2], given[2][::-1], *given[3:]]),
        ("lstm", lambda given: [*given[3:], *given[:3]]),
        ("lstm", lambda given: [*given[:2], 0 * given[2], *given[3:]]),
    ],
)
def test_a_mistake_in_the_weights_is_seen(cell, mistake):
    ours = make(cell, "both")
    weights, expected = drawn_and_run(cell, "both")
    with pytest.raises(AssertionError, match="Mismatched elements"):
        assert_close(run(ours, from_keras(ours, mistake(weights))), expected)


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
def test_a_list_that_does_not_fit_is_refused(weights, message):
    with pytest.raises(InputError, match=message):
        from_keras(RNN(LSTMCell(4)), weights)


def test_the_lists_of_a_stack_that_do_not_fit_are_refused():
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


def test_a_gru_whose_reset_gate_stands_elsewhere_is_refused():
    theirs = Theirs("gru", "one").draw(seed=5)
    with pytest.raises(InputError, match=r"bias has the shape \(2, 12\), expected \(12,\)"):
        from_keras(make("gru, reset before", "one"), theirs)
