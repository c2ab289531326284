"""Layers of ours, a ragged batch, and how results are compared."""

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
    "one": lambda cell: RNN(cell()),
    "both": lambda cell: Bidirectional(cell()),
    "two": lambda cell: Stack((RNN(cell()), RNN(cell()))),
    "two, both": lambda cell: Stack((Bidirectional(cell()), Bidirectional(cell()))),
}
RESET_AFTER = [name for name in CELLS if name != "gru, reset before"]


def make(cell, layer):
    """Returns a layer by the names of its cell and of its kind."""
    return LAYERS[layer](CELLS[cell])


def drawn(shapes, seed, scale=0.6):
    """Returns a tree of random arrays, biases included, from a tree of anything with a shape."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda leaf: (scale * rng.standard_normal(leaf.shape)).astype(np.float32), shapes
    )


def params_of(layer, seed=1, inputs=INPUTS):
    """Returns random parameters of a layer of ours."""
    example = np.zeros((1, 2, inputs), np.float32)
    return drawn(jax.eval_shape(layer.init, jax.random.key(0), example)["params"], seed)


@functools.partial(jax.jit, static_argnums=0)
def _applied(layer, params, inputs):
    return layer.apply({"params": params}, inputs, MASK)


def run(layer, params, inputs=INPUT):
    """Returns the outputs, and the parts of the final states: by layer, forward first, h first."""
    finals, outputs = _applied(layer, params, inputs)
    return [np.asarray(outputs), *map(np.asarray, jax.tree.leaves(finals))]


def assert_close(actual, expected):
    """Fails unless states, and outputs where they are real, agree within float32's rounding."""
    assert len(actual) == len(expected)
    np.testing.assert_allclose(actual[0][MASK], np.asarray(expected[0])[MASK], rtol=0, atol=1e-6)
    for one, other in zip(actual[1:], expected[1:], strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)


def assert_same(one, other):
    """Fails unless two trees are the same: names, dtypes and every bit."""
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for left, right in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert left.dtype == right.dtype
        assert np.asarray(left).tobytes() == np.asarray(right).tobytes()


def changed(params, path, change):
    """Returns a tree with one leaf, named by its path, changed."""
    *branches, last = path.split("/")
    made = copy.deepcopy(params)
    place = made
    for branch in branches:
        place = place[branch]
    place[last] = change(place[last])
    return made
