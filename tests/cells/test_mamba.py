"""The selective state space model of Mamba."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from rnnjax.cells import MambaCell
from rnnjax.errors import InputError
from rnnjax.layers import RNN

from .reference import (
    FEATURES,
    INPUTS,
    assert_matches_equations,
    assert_uniform,
    initial_params,
    random_like,
)


def mamba(cell, p, state, x):
    """Gu and Dao (2023), algorithm 2, one feature at a time."""
    (s,) = state
    n, new, output = cell.state_features, np.empty_like(s), np.empty(s.shape[:2])
    if "input" in p:
        x = x @ p["input"]["kernel"] + p["input"]["bias"]
    for row, features in enumerate(x):
        selected = features @ p["selection"]["kernel"]
        b, c, low_rank = selected[:n], selected[n : 2 * n], selected[2 * n :]
        full = low_rank @ p["step_factor"]["kernel"] if cell.step_rank else low_rank
        for d, value in enumerate(features):
            step = np.log1p(np.exp(full[d] + p["step_bias"][d]))
            for i in range(n):
                decay = np.exp(step * -np.exp(p["decay_log"][d, i]))
                new[row, d, i] = decay * s[row, d, i] + step * b[i] * value
            output[row, d] = new[row, d] @ c + p["skip"][d] * value
    return (new,), output


@pytest.mark.parametrize(("inputs", "step_rank"), [(INPUTS, 0), (INPUTS, 2), (FEATURES, 2)])
def test_equations(inputs, step_rank):
    cell = MambaCell(FEATURES, state_features=3, step_rank=step_rank)
    assert_matches_equations(cell, mamba, inputs=inputs)


def test_gradients_are_exact_in_float64():
    with jax.enable_x64(True):
        layer = RNN(MambaCell(2, state_features=2, step_rank=1, param_dtype=jnp.float64))
        x = random_like(jax.ShapeDtypeStruct((2, 3, 3), jnp.float64), 1)
        returned, variables = jax.eval_shape(layer.init_with_output, jax.random.key(0), x)
        mask = np.array([[True, False, True], [True, True, True]])
        run = jax.jit(lambda variables, x, state: layer.apply(variables, x, mask, state))
        arguments = random_like(variables, 2), x, random_like(returned[0], 3)
        check_grads(run, arguments, order=1, modes=["rev"], eps=1e-5, atol=1e-7, rtol=1e-7)


def test_one_state_without_decay_of_time_is_a_gated_unit():
    """Theorem 1: with n = 1, A = -1 and B = 1, h = (1 - g) h + g x up to the hold of B.

    The gate is g = 1 - exp(-step) = sigmoid of the step's preactivation, so that 1 - g is exact.
    """
    cell = MambaCell(1, state_features=1)
    p = jax.tree.map(jnp.zeros_like, initial_params(cell, inputs=1))
    p["selection"]["kernel"] = jnp.array([[0.0, 0.0, 0.7]])
    x = np.linspace(-3, 3, 7, dtype=np.float32)[:, None]
    bound = cell.bind({"params": p})
    decay, _ = bound.coefficients(bound.project(jnp.asarray(x)))
    gate = 1 / (1 + np.exp(-0.7 * x[:, 0].astype(np.float64)))
    np.testing.assert_allclose(np.ravel(decay), 1 - gate, rtol=1e-5)


def test_initial_decays_and_steps_are_those_of_the_paper():
    p = initial_params(MambaCell(500, state_features=4), inputs=500)
    np.testing.assert_allclose(np.exp(p["decay_log"]), np.tile([1, 2, 3, 4], (500, 1)), 1e-6)
    assert_uniform(np.log(np.log1p(np.exp(p["step_bias"]))), np.log(0.001), np.log(0.1) + 1e-4)
    assert (p["skip"] == 1).all()


@pytest.mark.parametrize(("name", "value"), [("state_features", 0), ("step_rank", -1)])
def test_invalid_options_raise(name, value):
    with pytest.raises(InputError, match=f"{name}: given {value}"):
        MambaCell(FEATURES, **{name: value})
