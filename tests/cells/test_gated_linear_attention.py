"""Gated linear attention, retention and linear attention."""

import numpy as np
import pytest

from rnnjax.cells import GatedLinearAttentionCell
from rnnjax.errors import InputError
from rnnjax.layers import RNN

from .reference import FEATURES, assert_matches_equations, random_sequence


def gated_linear_attention(cell, p, state, x):
    """Yang et al. (2024), equation 3, one head of one row at a time."""
    (s,) = state
    heads, n, m = s.shape[1:]
    new, output = np.empty_like(s), np.empty((len(x), heads * m))
    for row, features in enumerate(x):
        q, k, v = np.split(features @ p["input"]["kernel"], [heads * n, 2 * heads * n])
        if cell.decay == "gated":
            z = features @ p["gate_input"]["kernel"] @ p["gate_output"]["kernel"]
            alpha = (1 + np.exp(-z - p["gate_output"]["bias"])) ** (-1 / cell.temperature)
        for h in range(heads):
            keys, values = slice(h * n, (h + 1) * n), slice(h * m, (h + 1) * m)
            decay = {"constant": 1 - 2.0 ** (-5 - h), "none": 1.0}.get(cell.decay)
            decay = alpha[keys] if decay is None else np.full(n, decay)
            new[row, h] = np.diag(decay) @ s[row, h] + np.outer(k[keys], v[values])
            output[row, values] = new[row, h].T @ q[keys] / np.sqrt(n)
    return (new,), output


@pytest.mark.parametrize(
    "options",
    [
        {"heads": 2, "key_features": 4, "gate_rank": 2, "temperature": 3.0},
        {"heads": 3, "decay": "constant"},
        {"decay": "none"},
    ],
    ids=["gated", "constant", "none"],
)
def test_equations(options):
    assert_matches_equations(GatedLinearAttentionCell(FEATURES, **options), gated_linear_attention)


def test_without_decay_it_is_causal_attention_without_softmax():
    cell = GatedLinearAttentionCell(FEATURES, heads=2, decay="none")
    variables, x, _ = random_sequence(cell)
    outputs = np.asarray(RNN(cell).apply(variables, x)[1])
    projected = x @ np.asarray(variables["params"]["cell"]["input"]["kernel"])
    q, k, v = np.moveaxis(projected.reshape(*x.shape[:2], 3, 2, 3), 2, 0)
    scores = np.tril(np.einsum("bthi,bshi->bhts", q, k)) / np.sqrt(3)
    expected = np.einsum("bhts,bshi->bthi", scores, v).reshape(outputs.shape)
    np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "value"), [("gate_rank", 0), ("temperature", 0.0), ("decay", "fixed")]
)
def test_invalid_options_raise(name, value):
    with pytest.raises(InputError, match=name):
        GatedLinearAttentionCell(FEATURES, **{name: value})
