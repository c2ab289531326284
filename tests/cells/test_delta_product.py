"""The delta product network."""

import jax
import numpy as np
import pytest

from rnnjax.cells import DeltaProductCell, GatedDeltaNetCell
from rnnjax.errors import InputError
from rnnjax.layers import RNN

from .reference import FEATURES, MASK, assert_matches_equations, random_sequence
from .test_gated_deltanet import sigmoid, silu, unit


def delta_product(cell, p, state, x):
    """Siems et al. (2025), equation 4 with a gate, its matrices transposed."""
    (s,) = state
    heads, n, m = s.shape[1:]
    count = cell.householders
    new, output = np.empty_like(s), np.empty((len(x), heads * m))
    for row, z in enumerate(x @ p["input"]["kernel"]):
        sizes = [heads * n, count * heads * n, count * heads * m, count * heads]
        q, k, v, betas, step = np.split(z, np.cumsum(sizes))
        k, v = k.reshape(count, heads, n), v.reshape(count, heads, m)
        betas = sigmoid(betas + p["beta_bias"]).reshape(count, heads)
        for h in range(heads):
            matrix = s[row, h].copy()
            if cell.gated:
                delta = np.log1p(np.exp(step[h] + p["step_bias"][h]))
                matrix *= np.exp(-np.exp(p["decay_log"][h]) * delta)
            for j in range(count):
                key, beta = unit(silu(k[j, h])), betas[j, h] * (1 + cell.negative_eigenvalues)
                householder = np.eye(n) - beta * np.outer(key, key)
                matrix = householder @ matrix + beta * np.outer(key, silu(v[j, h]))
            new[row, h] = matrix
            output[row, h * m : (h + 1) * m] = unit(silu(q[h * n : (h + 1) * n])) @ matrix
    return (new,), output


@pytest.mark.parametrize(
    "options",
    [
        {"heads": 2, "key_features": 4, "householders": 3},
        {"gated": False, "negative_eigenvalues": True},
    ],
    ids=["gated", "plain"],
)
def test_equations(options):
    assert_matches_equations(DeltaProductCell(FEATURES, **options), delta_product)


def test_one_householder_is_the_gated_delta_network():
    cells = [
        DeltaProductCell(FEATURES, heads=2, householders=1),
        GatedDeltaNetCell(FEATURES, heads=2),
    ]
    variables, x, state = random_sequence(cells[0])
    results = [jax.jit(RNN(cell).apply)(variables, x, MASK, state) for cell in cells]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), *results)


def test_no_householder_raises():
    with pytest.raises(InputError, match="householders: given 0"):
        DeltaProductCell(FEATURES, householders=0)
