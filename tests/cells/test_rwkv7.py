"""The time mixing of RWKV-7."""

import numpy as np
import pytest

from rnnjax.cells import RWKV7Cell
from rnnjax.errors import InputError
from rnnjax.layers import available_engines

from .reference import FEATURES, assert_matches_equations, initial_params
from .test_gated_deltanet import sigmoid, unit


def rwkv7(cell, p, state, x):
    """Peng et al. (2025), equations 12 to 20, with the state as in the paper: values by keys."""
    (s,) = state
    heads, n, m = s.shape[1:]
    new, output = np.empty_like(s), np.empty((len(x), heads * m))
    for row, features in enumerate(x):
        r, k, v = np.split(features @ p["input"]["kernel"], [heads * n, 2 * heads * n])
        low_w, low_a = np.split(features @ p["factors"]["kernel"], 2)
        d = np.tanh(low_w) @ p["decay"]["kernel"] + p["decay"]["bias"]
        w = np.exp(-np.exp(-0.5) * sigmoid(d))
        a = sigmoid(low_a @ p["rate"]["kernel"] + p["rate"]["bias"])
        kappa = k * p["removal"]
        new_key = k * ((1 - p["replacement"]) + p["replacement"] * a)
        for h in range(heads):
            keys, values = slice(h * n, (h + 1) * n), slice(h * m, (h + 1) * m)
            direction = unit(kappa[keys])
            transition = np.diag(w[keys]) - np.outer(direction, a[keys] * direction)
            wkv = s[row, h].T @ transition + np.outer(v[values], new_key[keys])
            new[row, h] = wkv.T
            bonus = r[keys] @ (p["bonus"][keys] * new_key[keys])
            output[row, values] = wkv @ r[keys] + bonus * v[values]
    return (new,), output


@pytest.mark.parametrize("options", [{"heads": 2, "key_features": 4, "rank": 2}, {"rank": 3}])
def test_equations(options):
    assert_matches_equations(RWKV7Cell(FEATURES, **options), rwkv7)


def test_initial_decays_rise_over_the_channels():
    params = initial_params(RWKV7Cell(FEATURES))
    np.testing.assert_allclose(params["decay"]["bias"], np.linspace(-6, -1, FEATURES), rtol=1e-6)


def test_sequences_run_by_chunks():
    assert available_engines(RWKV7Cell(FEATURES)) == ("scan", "chunkwise")


def test_rank_is_validated():
    with pytest.raises(InputError, match="rank: given 0"):
        RWKV7Cell(FEATURES, rank=0)
