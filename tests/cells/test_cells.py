"""Properties common to cells: initial parameters, initial states, dtypes, gradients."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from rnnjax.cells import CELLS, GRUCell, LSTMCell, LSTMState, SimpleCell, make_cell
from rnnjax.kernels import sigmoid
from rnnjax.layers import RNN

INPUTS, FEATURES = 5, 7

VARIANTS = {
    "simple": (SimpleCell, {}),
    "lstm": (LSTMCell, {}),
    "gru": (GRUCell, {}),
    "gru, reset before": (GRUCell, {"reset_after": False}),
}


def _initial_params(cell, inputs=INPUTS, seed=0):
    """Returns a cell's new parameters in NumPy arrays."""
    state = cell.initial_state((1, inputs))
    init = jax.jit(cell.init)
    return jax.tree.map(
        np.asarray, init(jax.random.key(seed), state, jnp.ones((1, inputs)))["params"]
    )


initial_params: Callable[..., Any] = functools.cache(_initial_params)


@pytest.mark.parametrize("variant", VARIANTS)
def test_recurrent_kernel_starts_orthogonal(variant):
    cell, options = VARIANTS[variant]
    kernel = initial_params(cell(FEATURES, **options))["recurrent_kernel"]
    np.testing.assert_allclose(kernel @ kernel.T, np.eye(FEATURES), atol=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
def test_input_kernel_starts_in_glorot_bounds(variant):
    cell, options = VARIANTS[variant]
    kernel = initial_params(cell(FEATURES, **options), inputs=40)["input"]["kernel"]
    bound = np.sqrt(6 / sum(kernel.shape))
    assert 0.97 * bound < np.abs(kernel).max() <= bound
    assert abs(kernel.mean()) < 0.1 * bound


def test_only_the_forget_gate_starts_with_a_bias():
    for variant, (cell, options) in VARIANTS.items():
        params = initial_params(cell(FEATURES, **options))
        biases = [params["input"]["bias"], params.get("recurrent_bias", np.zeros(1))]
        if variant == "lstm":
            i, f, g, o = np.split(biases[0], 4)
            assert (f == 1).all()
            biases = [i, g, o]
        assert not np.concatenate(biases).any()


def test_keys_give_distinct_kernels():
    first, second = initial_params(LSTMCell(FEATURES)), initial_params(LSTMCell(FEATURES), seed=1)
    assert not np.array_equal(first["recurrent_kernel"], second["recurrent_kernel"])
    assert not np.array_equal(first["input"]["kernel"], second["input"]["kernel"])


@pytest.mark.parametrize("name", CELLS)
def test_initial_states_are_zero(name):
    state = make_cell(name, FEATURES).initial_state((2, 3, 5, 5, INPUTS))  # type: ignore
    for leaf in jax.tree.leaves(state):
        assert leaf.shape[:2] == (2, 3)
        assert not leaf.any()


def test_lstm_state_is_a_float32_named_tuple():
    state = LSTMCell(FEATURES).initial_state((2, 3, INPUTS))
    assert isinstance(state, LSTMState)
    for leaf in state:
        assert leaf.shape == (2, 3, FEATURES)
        assert leaf.dtype == jnp.float32


def test_sigmoid_values():
    x = np.array([-200.0, -30.0, -2.5, 0.0, 0.3, 4.0, 200.0], np.float32)
    y = sigmoid(jnp.asarray(x))
    np.testing.assert_allclose(y, 1 / (1 + np.exp(-x.astype(np.float64))), atol=1e-7)
    assert y.dtype == np.float32


@pytest.mark.parametrize("variant", VARIANTS)
def test_bfloat16_cells_keep_float32_states(variant):
    cell, options = VARIANTS[variant]
    rng = np.random.default_rng(0)
    inputs = rng.standard_normal((3, 200, INPUTS)).astype(np.float32)
    exact = RNN(cell(FEATURES, **options))
    rounded = RNN(cell(FEATURES, dtype=jnp.bfloat16, **options))
    variables = {"params": {"cell": initial_params(cell(FEATURES, **options))}}
    state, outputs = jax.jit(exact.apply)(variables, inputs)
    rough_state, rough_outputs = jax.jit(rounded.apply)(variables, inputs)
    assert outputs.dtype == jnp.float32
    assert rough_outputs.dtype == jnp.bfloat16
    for leaf, rough in zip(jax.tree.leaves(state), jax.tree.leaves(rough_state), strict=True):
        assert rough.dtype == jnp.float32
        # A state that was rounded at each step would hold no more than eight bits.
        assert not np.array_equal(rough, rough.astype(jnp.bfloat16).astype(jnp.float32))
        np.testing.assert_allclose(rough, leaf, atol=0.03)
    np.testing.assert_allclose(rough_outputs.astype(jnp.float32), outputs, atol=0.05)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("variant", VARIANTS)
def test_gradients_equal_finite_differences(variant, reverse):
    cell, options = VARIANTS[variant]
    mask = np.array([[True, True, True, True], [False, True, False, True], [False] * 4])
    with jax.enable_x64(True):
        layer = RNN(cell(3, param_dtype=jnp.float64, **options), reverse=reverse)
        rng = np.random.default_rng(1)
        inputs = rng.standard_normal((3, 4, 2))
        returned, shapes = jax.eval_shape(layer.init_with_output, jax.random.key(0), inputs)
        variables, state = jax.tree.map(
            lambda leaf: 0.6 * rng.standard_normal(leaf.shape), (shapes, returned[0])
        )
        for leaf in jax.tree.leaves((shapes, returned)):
            assert leaf.dtype == jnp.float64
        run = jax.jit(lambda variables, inputs, state: layer.apply(variables, inputs, mask, state))
        arguments = (variables, inputs, state)
        check_grads(run, arguments, order=1, modes=["rev"], atol=1e-7, rtol=1e-7, eps=1e-5)
