"""Cells with a linear recurrence: their engines, dtypes, where the output is stored."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.cells import (
    IndRNNCell,
    LinearCell,
    LRUCell,
    MambaCell,
    MinGRUCell,
    MinLSTMCell,
    QRNNCell,
    QRNNState,
    RGLRUCell,
    S5Cell,
    SRUCell,
)
from rnnjax.layers import RNN, available_engines

from .reference import FEATURES, MASK, ROWS, TIME, random_like, random_sequence

ELEMENTWISE: dict[str, Any] = {
    "indrnn": IndRNNCell(FEATURES),
    "sru": SRUCell(FEATURES),
    "qrnn": QRNNCell(FEATURES),
    "min gru": MinGRUCell(FEATURES),
    "min lstm, positive": MinLSTMCell(FEATURES, positive=True),
    "lru, state features": LRUCell(FEATURES, state_features=9),
    "rglru": RGLRUCell(FEATURES),
    "s5": S5Cell(FEATURES, state_features=4),
    "mamba": MambaCell(FEATURES, state_features=3),
}
LINEAR = [name for name, cell in ELEMENTWISE.items() if isinstance(cell, LinearCell)]


@functools.partial(jax.jit, static_argnums=(0, 1))
def gradients(cell, engine, variables, x, state, cotangents):
    """Returns the results of both directions, and the gradients of all that they read."""

    def run(variables, x, state):
        layers = [RNN(cell, reverse, engine=engine) for reverse in (False, True)]
        return [layer.apply(variables, x, MASK, state) for layer in layers]

    results, pull_back = jax.vjp(run, variables, x, state)
    return results, pull_back(cotangents)


@functools.cache
def scan(name: str) -> Any:
    """Returns the final state and the outputs of the scan over the ragged mask."""
    cell = ELEMENTWISE[name]
    apply = jax.jit(RNN(cell, engine="scan").apply)
    variables, x, state = random_sequence(cell)
    return jax.tree.map(np.asarray, apply(variables, x, MASK, state))


@pytest.mark.parametrize("engine", ["fused", "associative"])
@pytest.mark.parametrize("name", LINEAR)
def test_engines_of_linear_cells_equal_scan(name, engine):
    cell = ELEMENTWISE[name]
    assert available_engines(cell) == ("scan", "fused", "associative")
    sequence = random_sequence(cell)
    cotangents = [random_like(scan(name), seed) for seed in (4, 5)]
    actual = gradients(cell, engine, *sequence, cotangents)
    expected = gradients(cell, "scan", *sequence, cotangents)
    compare = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5)
    jax.tree.map(compare, actual, expected)
    for leaf in jax.tree.leaves(actual[1]):
        assert np.asarray(leaf).any()
    assert not np.asarray(actual[1][1])[~MASK].any()


@pytest.mark.parametrize("name", LINEAR)
def test_coefficients_have_the_dtype_of_the_state(name):
    cell = ELEMENTWISE[name].clone(dtype=jnp.bfloat16)
    variables, x, state = random_sequence(ELEMENTWISE[name])
    bound = cell.bind({"params": variables["params"]["cell"]})
    projected = bound.project(x)
    assert projected.dtype == jnp.bfloat16
    exact = bound.coefficients(projected.astype(jnp.float32))
    for coefficient, expected in zip(bound.coefficients(projected), exact, strict=True):
        shape = (ROWS, TIME, *state.shape[1:])
        assert jnp.broadcast_shapes(coefficient.shape, shape) == shape
        assert coefficient.dtype == state.dtype
        np.testing.assert_array_equal(coefficient, expected)


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_bfloat16_cells_keep_the_dtype_of_the_state(name):
    cell = ELEMENTWISE[name]
    layer = RNN(cell.clone(dtype=jnp.bfloat16), engine="scan")
    variables, x, initial_state = random_sequence(cell)
    results: Any = jax.jit(layer.apply)(variables, x, MASK, initial_state)
    state, outputs = jax.tree.map(np.asarray, results)
    exact_state, exact = scan(name)

    def compare(actual, expected):
        tolerance = 0.015 * abs(expected).max()
        np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)

    assert outputs.dtype == jnp.bfloat16
    compare(np.float32(outputs), exact)
    for leaf, expected in zip(*map(jax.tree.leaves, (state, exact_state)), strict=True):
        assert leaf.dtype == (jnp.complex64 if isinstance(cell, LRUCell | S5Cell) else jnp.float32)
        compare(leaf, expected)
    # The recurrent state has more than eight bits.
    recurrent = (state.cell if isinstance(state, QRNNState) else state)[MASK.any(axis=1)].real
    assert not np.array_equal(recurrent, recurrent.astype(jnp.bfloat16).astype(np.float32))


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("indrnn", ""),
        ("min gru", ""),
        ("min lstm, positive", ""),
        ("rglru", ""),
        ("sru", None),
        ("lru, state features", None),
        ("s5", None),
        ("mamba", None),
        ("qrnn", None),
        ("qrnn, f", "cell"),
        ("qrnn, f, window of one", ""),
    ],
)
def test_output_part_names_the_output_in_the_state(name, part):
    cells = {
        **ELEMENTWISE,
        "qrnn, f": QRNNCell(FEATURES, pooling="f"),
        "qrnn, f, window of one": QRNNCell(FEATURES, window=1, pooling="f"),
    }
    cell = cells[name]
    assert cell.output_part == part
    if part is not None:
        variables, x, initial_state = random_sequence(cell)
        state, outputs = jax.jit(RNN(cell).apply)(variables, x, None, initial_state)
        final = getattr(state, part) if part else state
        np.testing.assert_allclose(final, outputs[:, -1], rtol=1e-6, atol=1e-6)
