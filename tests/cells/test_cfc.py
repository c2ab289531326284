"""The closed-form continuous-time cell."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.cells import CfCCell
from rnnjax.errors import InputError

from .reference import FEATURES, assert_matches_equations, random_sequence


def heads(p, h, x):
    """Returns f, g and h of the paper."""
    z = x @ p["input"]["kernel"] + h @ p["recurrent_kernel"] + p["input"]["bias"]
    f, g, n = np.split(1.7159 * np.tanh(z / 1.5) @ p["head_kernel"] + p["head_bias"], 3, axis=1)
    return f, np.tanh(g), np.tanh(n)


def cfc(cell, p, state, x):
    """Hasani et al. (2022), equation 10."""
    (h,) = state
    elapsed = np.ones((len(x), 1))
    if cell.elapsed_time:
        x, elapsed = x[:, :-1], np.where(x[:, -1:] < 0, 0.0, x[:, -1:])
    f, g, n = heads(p, h, x)
    gate = 1 / (1 + np.exp(f * elapsed))
    h = gate * g + (1 - gate) * n
    return (h,), h


@pytest.mark.parametrize("options", [{}, {"elapsed_time": True, "backbone_features": 9}])
def test_equations(options):
    assert_matches_equations(CfCCell(FEATURES, **options), cfc)


def test_elapsed_time_moves_the_state_from_the_mean_to_one_candidate():
    cell = CfCCell(FEATURES, elapsed_time=True)
    variables, x, state = random_sequence(cell)
    p = variables["params"]["cell"]
    f, g, n = heads(p, state, x[:, 0, :-1])
    bound = cell.bind({"params": p})
    limits = {0.0: (g + n) / 2, -1.0: (g + n) / 2, 1e6: np.where(f > 0, n, g)}
    for elapsed, expected in limits.items():
        inputs = x[:, 0].copy()
        inputs[:, -1] = elapsed
        new, _ = bound.step(state, bound.project(jnp.asarray(inputs)))
        np.testing.assert_allclose(new, expected, atol=1e-6)


def test_invalid_backbone_and_inputs_raise():
    with pytest.raises(InputError, match="backbone_features: given -1"):
        CfCCell(FEATURES, backbone_features=-1)
    cell = CfCCell(FEATURES, elapsed_time=True)
    with pytest.raises(InputError, match="inputs: given 1 channel"):
        cell.init(jax.random.key(0), jnp.zeros((1, 1)), method="project")
