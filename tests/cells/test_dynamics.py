"""Cells with dynamics of their own, against their papers' equations in NumPy."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.cells.conv_lstm import ConvLSTMCell
from rnnjax.cells.echo_state import EchoStateCell
from rnnjax.cells.fast_grnn import FastGRNNCell
from rnnjax.cells.rhn import RHNCell
from rnnjax.cells.slstm import SLSTMCell
from rnnjax.errors import InputError
from rnnjax.layers import RNN, Bidirectional

from .dynamics import (
    CASES,
    MASK,
    ROWS,
    assert_close,
    drawn,
    drawn_state,
    initial,
    inputs_of,
    jit,
    plain,
    run_reference,
)


@pytest.mark.parametrize("name", CASES)
def test_values_are_those_of_the_equations_for_the_real_steps_of_both_directions(name):
    case = CASES[name]
    inputs = inputs_of(case)
    inputs[~MASK] = np.nan
    shapes, state = initial(case.cell, case.image, ROWS)
    params = {"forward": {"cell": drawn(shapes, 3)}, "backward": {"cell": drawn(shapes, 4)}}
    for part in jax.tree.leaves(state):
        assert not part.any()
    # One direction begins with the cell's own state.
    states = (drawn_state(state), state)
    run = jit(Bidirectional(case.cell, merge="none").apply)
    finals, outputs = run({"params": params}, inputs, MASK, states)
    for name, begin, final, output in zip(params, states, finals, outputs, strict=True):
        assert jax.tree.structure(final) == jax.tree.structure(state)
        output = np.asarray(output)
        assert not output[~MASK].any()
        order = slice(None, None, -1 if name == "backward" else 1)
        for before, after in zip(jax.tree.leaves(begin), jax.tree.leaves(final), strict=True):
            np.testing.assert_array_equal(after[-1], before[-1])
        for row in range(ROWS - 1):
            start, end = (
                plain(jax.tree.map(lambda part, row=row: part[row : row + 1], each))
                for each in (begin, final)
            )
            cut = inputs[row : row + 1, MASK[row]][:, order]
            expected_end, expected = run_reference(case, params[name]["cell"], start, cut)
            assert_close(output[row, MASK[row]][order], expected[0])
            for actual, part in zip(end, expected_end, strict=True):
                assert_close(actual, part)


@pytest.mark.parametrize(
    ("cell", "options", "words"),
    [
        (SLSTMCell, {"heads": 4}, "heads: given 4, expected a divisor of features = 6"),
        (SLSTMCell, {"heads": 0}, "heads: given 0"),
        (SLSTMCell, {"forget_gate": "tanh"}, "forget_gate: given 'tanh', expected one of sigmoid"),
        (RHNCell, {"depth": 0}, "depth: given 0, expected 1 or more"),
        (EchoStateCell, {"connectivity": 0.0}, "connectivity: given 0.0, expected a number above"),
        (EchoStateCell, {"leak": 1.5}, "leak: given 1.5, expected a number above 0, at most 1"),
        (EchoStateCell, {"spectral_radius": -0.5}, "spectral_radius: given -0.5"),
        (FastGRNNCell, {"input_rank": -1}, "input_rank: given -1, expected 1 or more, or 0"),
        (FastGRNNCell, {"recurrent_rank": -2}, "recurrent_rank: given -2"),
        (ConvLSTMCell, {"kernel_size": ()}, "kernel_size: given (), expected a positive number"),
        (ConvLSTMCell, {"kernel_size": (3, 0)}, "kernel_size: given (3, 0)"),
        (ConvLSTMCell, {"kernel_size": 3}, "kernel_size: given 3, expected"),
        (EchoStateCell, {"activation": "gelu"}, "activation: given 'gelu', expected one of tanh"),
    ],
)
def test_an_option_that_cannot_be_is_refused_where_the_cell_is_made(cell, options, words):
    with pytest.raises(InputError, match=re.escape(words)):
        cell(6, **options)


def test_a_convolution_over_no_image_is_refused():
    words = "shape (2, 3); expected 2 axes of an image and one of channels"
    with pytest.raises(InputError, match=re.escape(words)):
        RNN(ConvLSTMCell(6)).init(jax.random.key(0), jnp.zeros((2, 4, 3)))
