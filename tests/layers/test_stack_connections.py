"""Connections and normalization between the layers of a stack."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.cells import LSTMCell, SimpleCell
from rnnjax.errors import InputError
from rnnjax.layers import RNN, Stack

RNG = np.random.default_rng(0)
INPUTS = RNG.standard_normal((3, 5, 4)).astype(np.float32)
MASK = np.arange(5) < np.array([5, 3, 0])[:, None]


def stack(*features, **options) -> Any:
    """Returns a stack of simple layers, and random parameters."""
    layers = Stack([RNN(SimpleCell(width)) for width in features], **options)
    shapes = jax.eval_shape(layers.init, jax.random.key(0), INPUTS, MASK)
    return layers, jax.tree.map(lambda leaf: RNG.standard_normal(leaf.shape, np.float32), shapes)


def layer_outputs(variables, index, inputs, features) -> Any:
    """Returns the outputs of one layer by itself."""
    params = {"params": variables["params"][f"layers_{index}"]}
    result: Any = RNN(SimpleCell(features)).apply(params, inputs, MASK)
    return result[1]


def test_residual_adds_the_inputs_of_layers_of_one_width():
    layers, variables = stack(6, 6, 2, connection="residual")
    _, outputs = layers.apply(variables, INPUTS, MASK)
    first = layer_outputs(variables, 0, INPUTS, 6)
    second = first + layer_outputs(variables, 1, first, 6)
    expected = layer_outputs(variables, 2, second, 2)
    np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=1e-6)


def test_highway_is_a_gated_sum():
    layers, variables = stack(6, 6, connection="highway")
    _, outputs = layers.apply(variables, INPUTS, MASK)
    first = layer_outputs(variables, 0, INPUTS, 6)
    gate = variables["params"]["highway_1"]
    transform = jax.nn.sigmoid(first @ gate["kernel"] + gate["bias"][None, None])
    expected = transform * layer_outputs(variables, 1, first, 6) + (1 - transform) * first
    np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=1e-6)
    fresh = layers.init(jax.random.key(0), INPUTS, MASK)["params"]["highway_1"]["bias"]
    assert fresh.tolist() == [-1.0] * 6


def test_layer_norm_is_of_what_a_layer_reads_and_not_of_what_is_added():
    layers, variables = stack(6, 6, connection="residual", layer_norm=True)
    _, outputs = layers.apply(variables, INPUTS, MASK)
    first = layer_outputs(variables, 0, INPUTS, 6)
    norm: Any = nn.LayerNorm().apply({"params": variables["params"]["norm_1"]}, first)
    expected = first + layer_outputs(variables, 1, norm, 6)
    np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "options", [{"connection": "residual"}, {"connection": "highway"}, {"layer_norm": True}]
)
def test_masked_steps_have_no_effect_and_zero_outputs(options):
    layers, variables = stack(6, 6, 6, **options)
    damaged = np.where(MASK[..., None], INPUTS, np.nan)

    def total(variables, inputs):
        _, outputs = layers.apply(variables, inputs, MASK)
        return jnp.sum(outputs**2), outputs

    (_, outputs), gradients = jax.value_and_grad(total, has_aux=True)(variables, INPUTS)
    (_, same_outputs), same = jax.value_and_grad(total, has_aux=True)(variables, damaged)
    np.testing.assert_array_equal(outputs, same_outputs)
    assert not np.asarray(outputs)[~MASK].any()
    jax.tree.map(np.testing.assert_array_equal, gradients, same)


def test_pieces_continue_one_another():
    layers, variables = stack(6, 6, connection="highway", layer_norm=True)
    _, expected = layers.apply(variables, INPUTS)
    state, first = layers.apply(variables, INPUTS[:, :2])
    _, second = layers.apply(variables, INPUTS[:, 2:], None, state)
    np.testing.assert_allclose(np.concatenate([first, second], 1), expected, rtol=1e-5, atol=1e-6)


def test_connections_of_nothing_are_refused():
    with pytest.raises(InputError, match="expected one of '', 'residual', 'highway'"):
        Stack([RNN(LSTMCell(4))], connection="skip")  # pyright: ignore[reportArgumentType]
    layers = Stack([RNN(LSTMCell(4)), RNN(LSTMCell(5))], connection="residual")
    with pytest.raises(InputError, match="no layer above the lowest"):
        layers.init(jax.random.key(0), INPUTS)
