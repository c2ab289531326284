"""Layers of rnnjax, a ragged batch, and assertions on results."""

import copy
import functools

import jax
import numpy as np

from rnnjax.cells import GRUCell, LSTMCell, SimpleCell
from rnnjax.layers import RNN, Bidirectional, Stack

ROWS, TIME, INPUTS, FEATURES = 5, 7, 3, 4
INPUT = np.random.default_rng(0).standard_normal((ROWS, TIME, INPUTS)).astype(np.float32)
LENGTHS = np.array([7, 1, 4, 6, 2])
MASK = np.arange(TIME) < LENGTHS[:, None]

CELLS = {
    "simple": lambda: SimpleCell(FEATURES),
    "lstm": lambda: LSTMCell(FEATURES),
    "gru": lambda: GRUCell(FEATURES),
    "gru, reset before": lambda: GRUCell(FEATURES, reset_after=False),
}
LAYERS = {
    "single": lambda cell: RNN(cell()),
    "bidirectional": lambda cell: Bidirectional(cell()),
    "two": lambda cell: Stack((RNN(cell()), RNN(cell()))),
    "two bidirectional": lambda cell: Stack((Bidirectional(cell()), Bidirectional(cell()))),
}
RESET_AFTER = [name for name in CELLS if name != "gru, reset before"]


def make_layer(cell, layer):
    """Returns a layer by the names of its cell and of its structure."""
    return LAYERS[layer](CELLS[cell])


def random_like(shapes, seed, scale=0.6):
    """Returns a tree of random arrays with the shapes of another, biases included."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda leaf: (scale * rng.standard_normal(leaf.shape)).astype(np.float32), shapes
    )


def random_params(layer, seed=1, inputs=INPUTS):
    """Returns random parameters of a layer of rnnjax."""
    example = np.zeros((1, 2, inputs), np.float32)
    return random_like(jax.eval_shape(layer.init, jax.random.key(0), example)["params"], seed)


@functools.partial(jax.jit, static_argnums=0)
def _apply(layer, params, inputs):
    return layer.apply({"params": params}, inputs, MASK)


def run(layer, params, inputs=INPUT):
    """Returns the outputs, and the parts of the final states: by layer, forward first, h first."""
    finals, outputs = _apply(layer, params, inputs)
    return [np.asarray(outputs), *map(np.asarray, jax.tree.leaves(finals))]


def assert_close(actual, expected):
    """Asserts that states, and outputs at real steps, agree up to float32 rounding."""
    assert len(actual) == len(expected)
    np.testing.assert_allclose(actual[0][MASK], np.asarray(expected[0])[MASK], rtol=0, atol=1e-6)
    for actual_state, expected_state in zip(actual[1:], expected[1:], strict=True):
        np.testing.assert_allclose(actual_state, expected_state, rtol=0, atol=1e-6)


def assert_same(actual, expected):
    """Asserts that two trees have the same names, dtypes and bits."""
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for left, right in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert left.dtype == right.dtype
        assert np.asarray(left).tobytes() == np.asarray(right).tobytes()


def replace_leaf(params, path, change):
    """Returns a copy of a tree with one leaf, named by its path, replaced."""
    *branches, last = path.split("/")
    tree = copy.deepcopy(params)
    node = tree
    for branch in branches:
        node = node[branch]
    node[last] = change(node[last])
    return tree
