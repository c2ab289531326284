"""What a cell promises beside its values: parameters, how they begin, dtypes and derivatives."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from rnnjax.cells import GRUCell, LSTMCell, LSTMState, SimpleCell, forget_bias
from rnnjax.kernels import sigmoid
from rnnjax.layers import RNN

INPUTS, FEATURES = 5, 7

VARIANTS = {
    "simple": (SimpleCell, {}),
    "lstm": (LSTMCell, {}),
    "gru": (GRUCell, {}),
    "gru, reset before": (GRUCell, {"reset_after": False}),
}


def _initialised(cell, inputs=INPUTS, seed=0):
    """Returns a cell's new parameters in NumPy arrays."""
    state = cell.initial_state((1, inputs))
    init = jax.jit(cell.init)
    return jax.tree.map(
        np.asarray, init(jax.random.key(seed), state, jnp.ones((1, inputs)))["params"]
    )


initialised: Callable[..., Any] = functools.cache(_initialised)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_recurrent_kernel_begins_orthogonal_as_one_matrix(variant):
    cell, options = VARIANTS[variant]
    kernel = initialised(cell(FEATURES, **options))["recurrent_kernel"]
    np.testing.assert_allclose(kernel @ kernel.T, np.eye(FEATURES), atol=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_input_kernel_begins_in_glorots_bounds_as_one_matrix(variant):
    cell, options = VARIANTS[variant]
    kernel = initialised(cell(FEATURES, **options), inputs=40)["input"]["kernel"]
    bound = np.sqrt(6 / sum(kernel.shape))
    assert 0.97 * bound < np.abs(kernel).max() <= bound
    assert abs(kernel.mean()) < 0.1 * bound


def test_only_the_forget_gate_begins_with_a_bias():
    for variant, (cell, options) in VARIANTS.items():
        params = initialised(cell(FEATURES, **options))
        biases = [params["input"]["bias"], params.get("recurrent_bias", np.zeros(1))]
        if variant == "lstm":
            i, f, g, o = np.split(biases[0], 4)
            assert (f == 1).all()
            biases = [i, g, o]
        assert not np.concatenate(biases).any()


def test_the_forget_bias_can_be_told():
    params = initialised(forget_bias(LSTMCell(FEATURES), 3.0))
    assert params["input"]["bias"].tolist() == [0.0] * 7 + [3.0] * 7 + [0.0] * 14


def test_another_key_begins_with_other_kernels():
    one, other = initialised(LSTMCell(FEATURES)), initialised(LSTMCell(FEATURES), seed=1)
    assert not np.array_equal(one["recurrent_kernel"], other["recurrent_kernel"])
    assert not np.array_equal(one["input"]["kernel"], other["input"]["kernel"])


def test_states_begin_at_zero():
    state = LSTMCell(FEATURES).initial_state((2, 3, INPUTS))
    assert isinstance(state, LSTMState)
    for leaf in [*state, SimpleCell(FEATURES).initial_state((2, 3, INPUTS))]:
        assert leaf.shape == (2, 3, FEATURES)
        assert leaf.dtype == jnp.float32
        assert not leaf.any()


def test_a_simple_cell_takes_another_activation():
    cell = SimpleCell(2, activation=jax.nn.relu)
    params = {"input": {"kernel": np.eye(2), "bias": np.ones(2)}, "recurrent_kernel": -np.eye(2)}
    both = cell.apply({"params": params}, jnp.array([[1.0, 5.0]]), jnp.array([[2.0, 3.0]]))
    np.testing.assert_array_equal(both, [[[2.0, 0.0]]] * 2)


def test_the_logistic_function_is_the_logistic_function():
    x = np.array([-200.0, -30.0, -2.5, 0.0, 0.3, 4.0, 200.0], np.float32)
    y = sigmoid(jnp.asarray(x))
    np.testing.assert_allclose(y, 1 / (1 + np.exp(-x.astype(np.float64))), atol=1e-7)
    assert y.dtype == np.float32


@pytest.mark.parametrize("variant", VARIANTS)
def test_in_bfloat16_the_state_stays_float32_and_does_not_drift(variant):
    cell, options = VARIANTS[variant]
    rng = np.random.default_rng(0)
    inputs = rng.standard_normal((3, 200, INPUTS)).astype(np.float32)
    exact = RNN(cell(FEATURES, **options))
    rounded = RNN(cell(FEATURES, dtype=jnp.bfloat16, **options))
    variables = {"params": {"cell": initialised(cell(FEATURES, **options))}}
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
def test_derivatives_are_those_of_finite_differences(variant, reverse):
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
        run = jax.jit(lambda *given: layer.apply(given[0], given[1], mask, given[2]))
        given = (variables, inputs, state)
        check_grads(run, given, order=1, modes=["rev"], atol=1e-7, rtol=1e-7, eps=1e-5)
