"""Elman's cell."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.cells import SimpleCell
from rnnjax.errors import InputError

from .reference import FEATURES, INPUTS, assert_matches_equations, random_like

ACTIVATIONS = {"tanh": np.tanh, "relu": lambda z: z * (z > 0), "identity": lambda z: z}


def elman(cell, p, state, x):
    """H' = f(W x + b + U h)."""
    (h,) = state
    z = x @ p["input"]["kernel"] + p["input"]["bias"] + h @ p["recurrent_kernel"]
    h = ACTIVATIONS[cell.activation](z)
    return (h,), h


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_equations(activation):
    assert_matches_equations(SimpleCell(FEATURES, activation=activation), elman)


def test_activation_may_be_a_function():
    cell = SimpleCell(2, activation=jax.nn.relu)
    params = {"input": {"kernel": np.eye(2), "bias": np.ones(2)}, "recurrent_kernel": -np.eye(2)}
    params = jax.tree.map(np.float32, params)
    state_and_output = cell.apply(
        {"params": params}, jnp.array([[1.0, 5.0]]), jnp.array([[2.0, 3.0]])
    )
    np.testing.assert_array_equal(state_and_output, [[[2.0, 0.0]]] * 2)


def test_activation_name_equals_function():
    state, x = np.zeros((2, FEATURES), np.float32), np.ones((2, INPUTS), np.float32)
    shapes = jax.eval_shape(SimpleCell(FEATURES).init, jax.random.key(0), state, x)
    variables = random_like(shapes, 6)
    for name, function in (("tanh", jnp.tanh), ("relu", nn.relu)):
        by_name, by_function = (
            np.asarray(SimpleCell(FEATURES, activation=activation).apply(variables, state, x))
            for activation in (name, function)
        )
        np.testing.assert_array_equal(by_name, by_function)
        assert by_name.any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"activation": "gelu"}, "activation: given 'gelu', .* tanh, relu, identity"),
        ({"activation": 3}, "activation: given 3"),
        ({"features": "64"}, "features: given '64'"),
    ],
)
def test_invalid_options_raise(options, message):
    with pytest.raises(InputError, match=message):
        SimpleCell(**{"features": FEATURES, **options})
