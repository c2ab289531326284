"""The simplified state space layer, whose state is complex."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from rnnjax.cells import S5Cell
from rnnjax.errors import InputError
from rnnjax.layers import RNN

from .reference import (
    FEATURES,
    assert_matches_equations,
    assert_uniform,
    initial_params,
    random_like,
    to_double,
)


def s5(cell, p, state, x):
    """Smith et al. (2023), with both halves of the conjugate pairs."""
    del cell
    (s,) = state
    eigenvalues = -np.exp(p["decay_log"]) + 1j * p["frequency"]
    b_real, b_imaginary = np.split(p["input"]["kernel"], 2, axis=-1)
    c_real, c_imaginary = np.split(p["output_kernel"], 2)
    b, c = b_real + 1j * b_imaginary, c_real + 1j * c_imaginary
    both = np.concatenate([eigenvalues, eigenvalues.conj()])
    discrete = np.exp(both * np.tile(np.exp(p["step_log"]), 2))
    hold = (discrete - 1) / both
    full = np.concatenate([s, s.conj()], axis=-1)
    full = discrete * full + hold * (x @ np.concatenate([b, b.conj()], axis=-1))
    y = full @ np.concatenate([c, c.conj()])
    np.testing.assert_allclose(y.imag, 0, atol=1e-12)
    return (full[:, : s.shape[-1]],), y.real + x @ p["skip"]["kernel"]


@pytest.mark.parametrize("state_features", [0, 9])
def test_equations(state_features):
    assert_matches_equations(S5Cell(FEATURES, state_features=state_features), s5)


def test_zero_order_hold_is_exact_for_short_steps():
    """In float32, exp(x) - 1 would keep four digits of a step of 1e-4."""
    cell = S5Cell(2, step_min=1e-4, step_max=1.1e-4)
    p = jax.tree.map(np.asarray, initial_params(cell))
    projected = np.ones((1, 6), np.float32)
    _, b = cell.bind({"params": p}).coefficients(jnp.asarray(projected))
    eigenvalues = -np.exp(to_double(p["decay_log"])) + 1j * to_double(p["frequency"])
    exact = np.expm1(eigenvalues * np.exp(to_double(p["step_log"]))) / eigenvalues * (1 + 1j)
    np.testing.assert_allclose(np.asarray(b)[0], exact, rtol=2e-6)


def test_gradients_are_exact_in_float64():
    with jax.enable_x64(True):
        layer = RNN(S5Cell(2, param_dtype=jnp.float64))
        x = random_like(jax.ShapeDtypeStruct((2, 3, 3), jnp.float64), 1)
        returned, variables = jax.eval_shape(layer.init_with_output, jax.random.key(0), x)
        assert [leaf.dtype for leaf in returned] == [jnp.complex128, jnp.float64]
        mask = np.array([[True, False, True], [True, True, True]])
        run = jax.jit(lambda variables, x, state: layer.apply(variables, x, mask, state))
        arguments = random_like(variables, 2), x, random_like(returned[0], 3)
        check_grads(run, arguments, order=1, modes=["rev"], eps=1e-5, atol=1e-7, rtol=1e-7)


@pytest.mark.parametrize("blocks", [1, 3])
def test_initial_eigenvalues_are_those_of_hippo_in_the_unit_disc(blocks):
    size = 12
    p = initial_params(S5Cell(2, state_features=size, blocks=blocks))
    rows = np.arange(2 * size // blocks)
    # HiPPO-LegS, and the low-rank term that makes it normal (Gu et al., 2022).
    hippo = -np.sqrt(np.outer(2 * rows + 1, 2 * rows + 1))
    hippo = np.tril(hippo, -1) - np.diag(rows + 1.0)
    root = np.sqrt(rows + 0.5)
    expected = np.linalg.eigvals(hippo + np.outer(root, root))
    np.testing.assert_allclose(expected.real, -0.5, atol=1e-9)
    positive = np.sort(expected.imag[expected.imag > 0])
    np.testing.assert_allclose(np.sort(p["frequency"]), np.sort(np.tile(positive, blocks)), 1e-5)
    np.testing.assert_allclose(np.exp(p["decay_log"]), 0.5, rtol=1e-6)


def test_eigenvalues_stay_in_the_unit_disc():
    cell: Any = S5Cell(2)
    for seed in range(3):
        p = random_like(initial_params(cell), seed, scale=3.0)
        a, _ = cell.bind({"params": p}).coefficients(jnp.ones((1, 6)))
        assert (abs(np.asarray(a)) < 1).all()


def test_initial_steps_are_uniform_in_the_logarithm():
    p = initial_params(S5Cell(1, state_features=500, blocks=50, step_min=0.01, step_max=0.5))
    assert_uniform(p["step_log"], np.log(0.01), np.log(0.5))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"state_features": -1}, "state_features: given -1"),
        ({"blocks": 4}, "blocks: given 4, expected a divisor of the 6"),
        ({"step_min": 0.2}, "step_min and step_max: given 0.2 and 0.1"),
    ],
)
def test_invalid_options_raise(options, message):
    with pytest.raises(InputError, match=message):
        S5Cell(FEATURES, **options)
