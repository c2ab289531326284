"""The gated delta network, and without its gate the delta network."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.cells import GatedDeltaNetCell
from rnnjax.errors import InputError
from rnnjax.layers import RNN

from .reference import (
    FEATURES,
    assert_matches_equations,
    assert_uniform,
    initial_params,
)


def silu(x):
    return x / (1 + np.exp(-x))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def unit(x):
    return x / np.sqrt(x @ x + 1e-6)


def gated_deltanet(cell, p, state, x):
    """Yang et al. (2025), equation 10, its matrices transposed: one head of one row at a time."""
    (s,) = state
    heads, n, m = s.shape[1:]
    new, output = np.empty_like(s), np.empty((len(x), heads * m))
    for row, z in enumerate(x @ p["input"]["kernel"]):
        q, k, v, factors = np.split(z, np.cumsum([heads * n, heads * n, heads * m]))
        for h in range(heads):
            key = unit(silu(k[h * n : (h + 1) * n]))
            query = unit(silu(q[h * n : (h + 1) * n]))
            value = silu(v[h * m : (h + 1) * m])
            beta = sigmoid(factors[h] + p["beta_bias"][h]) * (1 + cell.negative_eigenvalues)
            decay = 1.0
            if cell.gated:
                step = np.log1p(np.exp(factors[heads + h] + p["step_bias"][h]))
                decay = np.exp(-np.exp(p["decay_log"][h]) * step)
            transition = decay * (np.eye(n) - beta * np.outer(key, key))
            new[row, h] = transition @ s[row, h] + beta * np.outer(key, value)
            output[row, h * m : (h + 1) * m] = new[row, h].T @ query
    return (new,), output


@pytest.mark.parametrize(
    "options",
    [{"heads": 2, "key_features": 4}, {"heads": 3, "gated": False, "negative_eigenvalues": True}],
    ids=["gated", "delta network"],
)
def test_equations(options):
    assert_matches_equations(GatedDeltaNetCell(FEATURES, **options), gated_deltanet)


def test_a_written_value_is_read_by_its_key_and_replaced():
    """With beta = 1 and no decay the last value of a key is what the key reads."""
    cell = GatedDeltaNetCell(
        2, key_features=2, gated=False, beta_bias_init=nn.initializers.constant(50.0)
    )
    params = initial_params(cell, inputs=6)
    kernel = np.zeros((6, 7), np.float32)
    kernel[:, :6] = np.eye(6)  # q, k and v are the inputs, beta is 1
    params["input"]["kernel"] = kernel
    first, second = [9.0, 0], [0, 9.0]
    steps = [
        [0, 0, *first, 1.0, 2.0],
        [0, 0, *second, 3.0, 4.0],
        [0, 0, *first, 5.0, 6.0],
        [*first, 0, 0, 0, 0],
        [*second, 0, 0, 0, 0],
    ]
    x = np.array([steps], np.float32)
    outputs = np.asarray(RNN(cell).apply({"params": {"cell": params}}, x)[1])
    np.testing.assert_allclose(outputs[0, 3:], silu(np.array([[5.0, 6], [3, 4]])), rtol=1e-3)


def test_negative_eigenvalues_reach_minus_one():
    for negative, smallest in ((False, 0), (True, -1)):
        cell = GatedDeltaNetCell(
            4, negative_eigenvalues=negative, beta_bias_init=nn.initializers.constant(50.0)
        )
        bound = cell.bind({"params": initial_params(cell)})
        inputs: Any = bound.coefficients(bound.project(jnp.ones((1, 3))))
        key, beta = np.asarray(inputs.key[0, 0]), float(inputs.beta[0, 0])
        eigenvalues = np.linalg.eigvalsh(np.eye(4) - beta * np.outer(key, key))
        np.testing.assert_allclose(eigenvalues, [smallest, 1, 1, 1], atol=1e-4)


def test_initial_decays_and_steps_are_those_of_the_paper():
    params = initial_params(GatedDeltaNetCell(500, heads=500))
    assert_uniform(np.exp(params["decay_log"]), 1, 16)
    assert_uniform(np.log(np.log1p(np.exp(params["step_bias"]))), np.log(0.001), np.log(0.1) + 1e-4)


@pytest.mark.parametrize(("name", "value"), [("heads", 4), ("heads", 0), ("key_features", -1)])
def test_invalid_options_raise(name, value):
    with pytest.raises(InputError, match=f"{name}: given {value}"):
        GatedDeltaNetCell(FEATURES, **{name: value})
