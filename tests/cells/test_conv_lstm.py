"""The convolutional LSTM."""

import functools
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit as sigmoid

from rnnjax.cells import ConvLSTMCell, LSTMState
from rnnjax.errors import InputError
from rnnjax.layers import RNN

from .reference import (
    FEATURES,
    INPUTS,
    assert_close,
    assert_matches_equations,
    random_like,
    random_sequence,
)


def convolve(images, kernel):
    """Returns the sum over the kernel's offsets of shifted images, zeros around them."""
    size = kernel.shape[:-2]
    padding = [((k - 1) // 2, k - 1 - (k - 1) // 2) for k in size]
    padded = np.pad(images, [(0, 0), *padding, (0, 0)])
    total = 0
    for offset in np.ndindex(*size):
        window = tuple(slice(o, o + n) for o, n in zip(offset, images.shape[1:-1], strict=True))
        total = total + padded[(slice(None), *window)] @ kernel[offset]
    return total


def conv_lstm(cell, p, state, x):
    """Shi et al. (2015), without peepholes."""
    del cell
    h, c = state
    gates = convolve(x, p["input"]["kernel"]) + p["input"]["bias"]
    gates = gates + convolve(h, p["recurrent_kernel"])
    i, f, g, o = np.split(gates, 4, axis=-1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    h = sigmoid(o) * np.tanh(c)
    return (h, c), h


def test_equations():
    assert_matches_equations(ConvLSTMCell(FEATURES, kernel_size=(3, 2)), conv_lstm, image=(3, 4))


@pytest.mark.parametrize(("size", "image"), [((4,), (5,)), ((2, 1, 3), (2, 2, 3))])
def test_outputs_equal_flax(size, image):
    x = np.random.default_rng(10).standard_normal((4, 6, *image, INPUTS)).astype(np.float32)
    flax_layer = nn.RNN(nn.ConvLSTMCell(FEATURES, size), return_carry=True)
    shapes = jax.eval_shape(flax_layer.init, jax.random.key(0), x)["params"]["cell"]
    params = random_like(shapes, 1)
    lengths = np.array([6, 1, 4, 2])
    mask = np.arange(6) < lengths[:, None]
    variables = {"params": {"cell": params}}
    (c, h), expected = jax.jit(flax_layer.apply)(variables, x, seq_lengths=lengths)

    def reorder_gates(units):
        i, g, f, o = np.split(units, 4, axis=-1)
        return np.concatenate([i, f, g, o], axis=-1)

    bias = reorder_gates(params["ih"]["bias"] + params["hh"]["bias"])
    bias[FEATURES : 2 * FEATURES] += 1
    converted = {
        "input": {"kernel": reorder_gates(params["ih"]["kernel"]), "bias": bias},
        "recurrent_kernel": reorder_gates(params["hh"]["kernel"]),
    }
    layer = RNN(ConvLSTMCell(FEATURES, kernel_size=size))
    final, outputs = jax.jit(layer.apply)({"params": {"cell": converted}}, x, mask)
    assert_close(np.asarray(outputs)[mask], np.asarray(expected)[mask], 2e-6)
    assert_close(final.hidden, h, 2e-6)
    assert_close(final.cell, c, 2e-6)


def test_initial_state_and_forget_bias():
    cell = ConvLSTMCell(3, kernel_size=(2,))
    state = cell.initial_state((5, 4, 2))
    assert isinstance(state, LSTMState)
    assert [part.shape for part in state] == [(5, 4, 3)] * 2
    init = jax.jit(functools.partial(cell.init, method="project"))
    params = init(jax.random.key(0), jnp.zeros((5, 4, 2)))["params"]
    assert params["input"]["bias"].reshape(4, 3).tolist() == [[0] * 3, [1] * 3, *[[0] * 3] * 2]


def test_one_image_without_a_batch_axis():
    cell = ConvLSTMCell(2, kernel_size=(3, 3))
    variables, x, state = random_sequence(cell, image=(4, 5))
    variables = {"params": variables["params"]["cell"]}
    apply = jax.jit(cell.apply)
    _, expected = apply(variables, state, x[:, 0])
    for row in range(len(x)):
        row_state = jax.tree.map(lambda part, row=row: part[row], state)
        _, output = apply(variables, row_state, x[row, 0])
        assert_close(output, expected[row], 2e-6)


@pytest.mark.parametrize(
    ("kernel_size", "message"),
    [
        ((), "kernel_size: given (), expected a positive number"),
        ((3, 0), "kernel_size: given (3, 0)"),
        (3, "kernel_size: given 3, expected"),
    ],
)
def test_invalid_kernel_sizes_raise(kernel_size, message):
    with pytest.raises(InputError, match=re.escape(message)):
        ConvLSTMCell(FEATURES, kernel_size=kernel_size)


def test_inputs_without_image_axes_raise():
    message = "shape (2, 3); expected 2 axes of an image and one of channels"
    with pytest.raises(InputError, match=re.escape(message)):
        RNN(ConvLSTMCell(6)).init(jax.random.key(0), jnp.zeros((2, 4, 3)))
