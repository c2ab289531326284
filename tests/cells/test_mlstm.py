"""The LSTM with a matrix memory."""

from typing import Any

import jax
import numpy as np
import pytest

from rnnjax.cells import MLSTMCell, MLSTMState
from rnnjax.layers import RNN

from .reference import FEATURES, assert_matches_equations, initial_params, random_sequence


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def mlstm(cell, p, state, x):
    """Beck et al. (2024), equations 19 to 27, without stabilizer: one head of one row at a time."""
    memory, normalizer = state
    heads, n, m = memory.shape[1:]
    sizes = [heads * n, heads * n, heads * m, heads, heads]
    memory, normalizer, output = memory.copy(), normalizer.copy(), np.empty((len(x), heads * m))
    for row, z in enumerate(x @ p["input"]["kernel"] + p["input"]["bias"]):
        q, k, v, i, f, o = np.split(z, np.cumsum(sizes))
        for h in range(heads):
            keys, values = slice(h * n, (h + 1) * n), slice(h * m, (h + 1) * m)
            key, forget, gain = k[keys] / np.sqrt(n), sigmoid(f[h]), np.exp(i[h])
            memory[row, h] = forget * memory[row, h] + gain * np.outer(key, v[values])
            normalizer[row, h] = forget * normalizer[row, h] + gain * key
            below = max(abs(normalizer[row, h] @ q[keys]), 1)
            output[row, values] = memory[row, h].T @ q[keys] / below
            if cell.output_gate:
                output[row, values] *= sigmoid(o[values])
    return (memory, normalizer), output


def unscaled(state: MLSTMState) -> tuple[np.ndarray, ...]:
    """Returns memory and normalizer times exp(stabilizer), in double precision."""
    memory, normalizer, stabilizer = (np.asarray(leaf, np.float64) for leaf in state)
    factor = np.exp(stabilizer)
    return memory * factor[..., None, None], normalizer * factor[..., None]


@pytest.mark.parametrize(
    "options",
    [{"heads": 2, "key_features": 4}, {"heads": 3, "output_gate": False}],
    ids=["gated", "plain"],
)
def test_equations(options):
    assert_matches_equations(MLSTMCell(FEATURES, **options), mlstm, parts=unscaled)


@pytest.mark.parametrize("engine", ["scan", "chunkwise"])
def test_large_gates_overflow_nowhere(engine):
    cell = MLSTMCell(2, output_gate=False)
    variables, x, _ = random_sequence(cell)
    x = x[:, :4].copy()
    params: Any = variables["params"]["cell"]["input"]
    params["kernel"][:, 6:] = 0
    params["kernel"][0, 6] = 1  # log i is the first input
    params["bias"][6:] = [0, 50]  # and f is 1
    x[:, :, 0] = [400, -400, 399, 0]
    variables = {"params": {"cell": {"input": params}}}
    run = jax.jit(RNN(cell, engine=engine).apply)
    state, outputs = jax.tree.map(np.asarray, run(variables, x))
    projected = x @ params["kernel"] + params["bias"]
    q, k, v = projected[..., :2], projected[..., 2:4] / np.sqrt(2), projected[..., 4:6]
    weights = np.exp(np.array([400, -400, 399, 0]) - 400)
    scores = np.tril(np.einsum("bti,bsi->bts", q, k) * weights)
    expected = scores @ v / np.maximum(abs(scores.sum(-1, keepdims=True)), np.exp(-40))
    np.testing.assert_allclose(outputs, expected, rtol=2e-4)
    np.testing.assert_allclose(state.stabilizer, 400, rtol=1e-6)


def test_forget_biases_begin_between_three_and_six():
    params = initial_params(MLSTMCell(4, heads=4))
    np.testing.assert_allclose(params["input"]["bias"][-8:], [3, 4, 5, 6, 0, 0, 0, 0])
    assert not params["input"]["bias"][:-8].any()
