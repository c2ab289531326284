"""The LSTM and the GRU with layer normalisation."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit as sigmoid

from rnnjax.cells import LayerNormGRUCell, LayerNormLSTMCell, LSTMState

from .reference import (
    FEATURES,
    INPUTS,
    ZERO_KERNELS,
    assert_matches_equations,
    initial_params,
    random_like,
    run_equations,
    state_parts,
)


def normalize(values, p, cell):
    """Returns values normalised over the features, with gain and bias (Ba et al. 2016)."""
    centred = values - values.mean(axis=1, keepdims=True)
    variance = (centred**2).sum(axis=1, keepdims=True) / values.shape[1]
    return p["scale"] * centred / np.sqrt(variance + cell.epsilon) + p.get("bias", 0)


def layer_norm_lstm(cell, p, state, x):
    """Ba, Kiros and Hinton (2016), the LSTM."""
    h, c = state
    z = normalize(h @ p["recurrent_kernel"], p["recurrent_norm"], cell)
    z = z + normalize(x @ p["input"]["kernel"], p["input_norm"], cell)
    i, f, g, o = np.split(z, 4, axis=1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    h = sigmoid(o) * np.tanh(normalize(c, p["cell_norm"], cell))
    return (h, c), h


def layer_norm_gru(cell, p, state, x):
    """Ba, Kiros and Hinton (2016), the GRU; the paper's z is that of a gain and a bias negated."""
    (h,) = state
    product, projected = h @ p["recurrent_kernel"], x @ p["input"]["kernel"]
    gates = normalize(product[:, : 2 * cell.features], p["recurrent_norm"], cell)
    gates = gates + normalize(projected[:, : 2 * cell.features], p["input_norm"], cell)
    r, paper_z = sigmoid(gates[:, : cell.features]), sigmoid(-gates[:, cell.features :])
    n = normalize(projected[:, 2 * cell.features :], p["input_norm_new"], cell)
    n = np.tanh(n + r * normalize(product[:, 2 * cell.features :], p["recurrent_norm_new"], cell))
    h = (1 - paper_z) * h + paper_z * n
    return (h,), h


CELLS: dict[str, tuple[Any, Any]] = {
    "lstm": (LayerNormLSTMCell, layer_norm_lstm),
    "gru": (LayerNormGRUCell, layer_norm_gru),
}


@pytest.mark.parametrize("name", CELLS)
def test_equations(name):
    cell, equations = CELLS[name]
    assert_matches_equations(cell(FEATURES), equations)


def test_forget_bias_starts_at_one_in_the_lstm_alone():
    biases = [
        initial_params(cell(1, **ZERO_KERNELS))["input_norm"]["bias"].tolist()
        for cell, _ in CELLS.values()
    ]
    assert biases == [[0, 1, 0, 0], [0, 0]]


@pytest.mark.parametrize(
    ("dtype", "offset", "tolerance"),
    # Neighbours in bfloat16, whose mean there is none; in float32, squares that cancel.
    [("bfloat16", 64, 0.02), ("float32", 4096, 1e-5)],
)
@pytest.mark.usefixtures("implicit_promotion")  # nn.LayerNorm of flax relies on it in bfloat16
@pytest.mark.parametrize("name", CELLS)
def test_statistics_of_large_values_are_accurate(name, dtype, offset, tolerance):
    make, equations = CELLS[name]
    cell = make(4, dtype=jnp.dtype(dtype))  # a mean of four is exact
    state = random_like(cell.initial_state((INPUTS, INPUTS)), 7)
    x = np.eye(INPUTS, dtype=np.float32)
    shapes = jax.eval_shape(cell.init, jax.random.key(0), state, x)["params"]
    params, rng = random_like(shapes, 8), np.random.default_rng(9)
    # The products with one-hot inputs and states are the entries of the kernels.
    for parent, key in ((params["input"], "kernel"), (params, "recurrent_kernel")):
        steps = rng.integers(0, 4, parent[key].shape)
        parent[key] = (offset + steps / 2).astype(np.float32)
    hidden = np.eye(INPUTS, 4, dtype=np.float32)
    state = state._replace(hidden=hidden) if isinstance(state, LSTMState) else hidden
    _, output = cell.apply({"params": params}, state, x)
    mask = np.ones((INPUTS, 1), bool)
    _, expected = run_equations(equations, cell, params, state_parts(state), x[:, None], mask)
    np.testing.assert_allclose(output.astype(jnp.float32), expected[:, 0], rtol=0, atol=tolerance)
