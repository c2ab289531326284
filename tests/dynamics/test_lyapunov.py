"""Lyapunov exponents equal closed forms and published ones, and do not depend on padding."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.cells import GRUCell, LSTMCell
from rnnjax.dynamics import lyapunov_spectrum, trace_module
from rnnjax.errors import InputError
from rnnjax.layers import NEWTON, RNN

from .closed_forms import Henon, LinearMap, Logistic, rotation, run_cell

SHEAR = ((0.9, 3.0, 0.0), (0.0, 0.5, -2.0), (0.0, 0.0, -0.2))
"""A matrix far from normal, with its eigenvalues on the diagonal."""


@pytest.mark.parametrize(
    ("rows", "radii"),
    [
        (((1.0, 0.0), (0.0, 1.0)), (1.0, 1.0)),
        (rotation(0.4), (1.0, 1.0)),
        (rotation(2.0, 0.8), (0.8, 0.8)),
        (SHEAR, (0.9, 0.5, 0.2)),
    ],
    ids=["identity", "rotation", "spiral", "shear"],
)
@pytest.mark.parametrize("masks", ["", "right", "left", "holes"])
def test_linear_cells_have_the_logarithms_of_their_eigenvalues(rows, radii, masks):
    cell = LinearMap(features=len(rows), rows=rows)
    trajectory = run_cell(cell, 100, masks=masks, reverse=masks == "holes")
    spectrum = lyapunov_spectrum(trajectory, warm_up=40)
    np.testing.assert_allclose(spectrum.exponents, np.log(radii), atol=1e-4)
    assert (spectrum.sequences, spectrum.steps) == (3, 180)


def random_starts(cell, rows, time, low, high, masks=""):
    """Returns a trajectory from random values of each part of the state."""
    trajectory = run_cell(cell, time, rows, masks=masks)
    rng = np.random.default_rng(0)
    start = jax.tree.map(
        lambda leaf: jnp.array(rng.uniform(low, high, leaf.shape), leaf.dtype),
        trajectory.initial_state,
    )
    return trajectory.replace(initial_state=start)


def assert_within_errors(spectrum, expected):
    """Fails unless the largest exponent is within three standard errors, of at most 2 % of it."""
    error = spectrum.standard_errors[0]
    assert 0 < error <= 0.02 * expected
    assert abs(spectrum.exponents[0] - expected) <= 3 * error
    assert spectrum.verdict == "expanding"
    assert "sensitive" in spectrum.describe()


def test_logistic_map_has_its_exponent():
    trajectory = random_starts(Logistic(features=1), 48, 400, 0.1, 0.9)
    spectrum = lyapunov_spectrum(trajectory, warm_up=20)
    assert_within_errors(spectrum, math.log(2))


def test_henon_map_has_its_exponents_whatever_the_padding():
    spectra = [
        lyapunov_spectrum(random_starts(Henon(), 48, 600, -0.1, 0.1, masks), warm_up=50)
        for masks in ("", "holes")
    ]
    assert_within_errors(spectra[0], 0.41922)
    assert spectra[0].exponents.sum() == pytest.approx(math.log(0.3), abs=1e-4)
    for actual, expected in zip(spectra[1], spectra[0], strict=True):
        np.testing.assert_array_equal(actual, expected)


def test_standard_error_is_that_of_the_mean_over_sequences():
    trajectory = random_starts(Logistic(features=1), 40, 60, 0.1, 0.9)
    spectrum = lyapunov_spectrum(trajectory, warm_up=10)
    single = [
        lyapunov_spectrum(
            jax.tree.map(lambda leaf, row=row: leaf[row : row + 1], trajectory), warm_up=10
        )
        for row in range(40)
    ]
    means = [float(row.exponents[0]) for row in single]
    assert spectrum.exponents[0] == pytest.approx(np.mean(means), rel=1e-4)
    expected = np.std(means, ddof=1) / math.sqrt(40)
    assert spectrum.standard_errors[0] == pytest.approx(expected, rel=1e-3)
    assert np.isnan(single[0].standard_errors[0])


def test_estimate_of_newton_agrees():
    inputs = jax.random.normal(jax.random.key(0), (4, 32, 3))
    layer = RNN(GRUCell(2), engine="newton")
    variables = jax.jit(layer.init)(jax.random.key(1), inputs)
    apply = jax.jit(functools.partial(layer.apply, mutable=NEWTON))
    verdict = apply(variables, inputs)[1][NEWTON]
    (trajectory,) = trace_module(layer, variables, inputs)
    spectrum = lyapunov_spectrum(trajectory, warm_up=0)
    estimate = float(jnp.mean(verdict["lyapunov_exponent"]))
    assert spectrum.exponents[0] == pytest.approx(estimate, abs=1 / 32)
    assert spectrum.verdict == "contracting"
    assert f"{spectrum.time_constant:.1f} steps" in spectrum.describe()


def test_exponents_are_at_most_those_of_the_state_and_need_a_step():
    inputs = jnp.ones((2, 6, 3))
    layer = RNN(LSTMCell(2))
    (trajectory,) = trace_module(layer, layer.init(jax.random.key(0), inputs), inputs)
    assert len(lyapunov_spectrum(trajectory).exponents) == 4
    assert len(lyapunov_spectrum(trajectory, exponents=2).exponents) == 2
    with pytest.raises(InputError, match="given 6 steps, and the longest sequence has 6"):
        lyapunov_spectrum(trajectory, warm_up=6)
