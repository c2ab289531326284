"""The state space model of Mamba-2."""

import numpy as np
import pytest

from rnnjax.cells import Mamba2Cell

from .reference import FEATURES, assert_matches_equations, assert_uniform, initial_params


def mamba2(cell, p, state, u):
    """Dao and Gu (2024), equation 16 with the discretization of Mamba, one head at a time."""
    (s,) = state
    heads, n, m = s.shape[1:]
    new, output = np.empty_like(s), np.empty((len(u), heads * m))
    for row, z in enumerate(u @ p["input"]["kernel"]):
        x, b, c, step = np.split(z, np.cumsum([heads * m, n, n]))
        for h in range(heads):
            values = slice(h * m, (h + 1) * m)
            delta = np.log1p(np.exp(step[h] + p["step_bias"][h]))
            decay = np.exp(delta * -np.exp(p["decay_log"][h]))
            new[row, h] = decay * s[row, h] + delta * np.outer(b, x[values])
            output[row, values] = c @ new[row, h] + p["skip"][h] * x[values]
    return (new,), output


@pytest.mark.parametrize("options", [{"heads": 3, "key_features": 4}, {}])
def test_equations(options):
    assert_matches_equations(Mamba2Cell(FEATURES, **options), mamba2)


def test_initial_decays_and_steps_are_those_of_the_paper():
    params = initial_params(Mamba2Cell(500, heads=500))
    assert_uniform(np.exp(params["decay_log"]), 1, 16)
    assert_uniform(np.log(np.log1p(np.exp(params["step_bias"]))), np.log(0.001), np.log(0.1) + 1e-4)
    assert (params["skip"] == 1).all()
