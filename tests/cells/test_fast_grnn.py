"""FastGRNN."""

import numpy as np
import pytest
from scipy.special import expit as sigmoid

from rnnjax.cells import FastGRNNCell
from rnnjax.errors import InputError

from .reference import FEATURES, assert_close, assert_matches_equations, initial_params


def fast_grnn(cell, p, state, x):
    """Kusupati et al. (2018)."""
    (h,) = state
    w, u = p["input"]["kernel"], p["recurrent_kernel"]
    if cell.input_rank:
        w = p["input_reduced"]["kernel"] @ w
    if cell.recurrent_rank:
        u = p["recurrent_kernel_reduced"] @ u
    z = sigmoid(x @ w + h @ u + p["gate_bias"])
    candidate = np.tanh(x @ w + h @ u + p["bias"])
    zeta, nu = sigmoid(p["zeta_logit"]), sigmoid(p["nu_logit"])
    h = (zeta * (1 - z) + nu) * candidate + z * h
    return (h,), h


@pytest.mark.parametrize("options", [{}, {"input_rank": 2, "recurrent_rank": 4}], ids=str)
def test_equations(options):
    assert_matches_equations(FastGRNNCell(FEATURES, **options), fast_grnn)


def test_initial_parameters_follow_the_attributes():
    params = initial_params(FastGRNNCell(8, input_rank=2, recurrent_rank=3, zeta=0.5), inputs=5)
    assert params["zeta_logit"] == 0.5
    assert params["nu_logit"] == -4
    assert params["gate_bias"].tolist() == [1] * 8
    assert params["bias"].tolist() == [0] * 8
    kernel = params["input_reduced"]["kernel"] @ params["input"]["kernel"]
    recurrent_kernel = params["recurrent_kernel_reduced"] @ params["recurrent_kernel"]
    assert kernel.shape == (5, 8)
    assert np.linalg.matrix_rank(kernel, 1e-5) == 2
    singular_values = np.linalg.svd(recurrent_kernel, compute_uv=False)
    assert_close(singular_values, [1] * 3 + [0] * 5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input_rank": -1}, "input_rank: given -1, expected 1 or more, or 0"),
        ({"recurrent_rank": -2}, "recurrent_rank: given -2"),
    ],
)
def test_invalid_ranks_raise(options, message):
    with pytest.raises(InputError, match=message):
        FastGRNNCell(FEATURES, **options)
