"""The simple recurrent unit."""

import numpy as np
import pytest
from scipy.special import expit as sigmoid

from rnnjax.cells import SRUCell

from .reference import FEATURES, INPUTS, assert_matches_equations, assert_uniform, initial_params


def sru(cell, p, state, x):
    """Lei et al. (2018), with a highway projection where inputs and features differ in number."""
    (c,) = state
    z_f, z_r, new = np.split(x @ p["input"]["kernel"], 3, axis=-1)
    v_f, v_r = np.split(p["recurrent_kernel"], 2)
    b_f, b_r = np.split(p["bias"], 2)
    f, r = sigmoid(z_f + v_f * c + b_f), sigmoid(z_r + v_r * c + b_r)
    c = f * c + (1 - f) * new
    highway = x @ p["highway"]["kernel"] if "highway" in p else x
    alpha = np.sqrt(1 + 2 * np.exp(cell.highway_bias))
    return (c,), r * c + (1 - r) * alpha * highway


@pytest.mark.parametrize(
    ("inputs", "options"), [(INPUTS, {}), (FEATURES, {"highway_bias": -2.0})], ids=str
)
def test_equations(inputs, options):
    assert_matches_equations(SRUCell(FEATURES, **options), sru, inputs)


def test_initial_parameters_are_those_of_the_paper():
    p = initial_params(SRUCell(1000, highway_bias=-3.0), inputs=12)
    assert_uniform(p["input"]["kernel"], -0.5, 0.5)  # sqrt(3 / 12)
    assert_uniform(p["recurrent_kernel"], -(1.5**0.5), 1.5**0.5)
    assert p["bias"].tolist() == [0.0] * 1000 + [-3.0] * 1000
