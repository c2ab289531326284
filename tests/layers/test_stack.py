"""A stack: shared modules, variational dropout and invalid layers."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.cells import Cell, GRUCell, SimpleCell, Zoneout
from rnnjax.errors import InputError
from rnnjax.layers import RNN, Bidirectional, Stack, WeightDrop

ROWS, TIME, FEATURES = 3, 6, 8
INPUT = np.ones((ROWS, TIME, FEATURES), np.float32)


class IdentityCell(Cell):
    """A cell whose output is its input."""

    output_part: ClassVar[str | None] = None

    def step(self, state, projected):
        """Returns the state, and the input."""
        return state, projected


@pytest.mark.parametrize("variational", [True, False])
def test_variational_dropout_is_constant_over_time(variational):
    stack = Stack([RNN(IdentityCell(FEATURES))] * 2, dropout=0.5, variational=variational)
    outputs = np.asarray(stack.apply({}, INPUT, rngs={"dropout": jax.random.key(0)})[1])
    np.testing.assert_array_equal(np.unique(outputs), [0, 2])
    assert (outputs == outputs[:, :1]).all() == variational
    assert not (outputs == outputs[:1]).all()
    assert not (outputs == outputs[..., :1]).all()


CELL = SimpleCell(FEATURES)
SHARED = {
    "a cell": lambda: [RNN(CELL), RNN(CELL)],
    "a layer": lambda: [RNN(CELL)] * 2,
    "a cell within a wrapper": lambda: [RNN(Zoneout(CELL, 0.1)), Bidirectional(CELL, "sum")],
    "a layer within a wrapper": lambda: [WeightDrop(RNN(CELL), 0.1)] * 2,
}


@pytest.mark.parametrize("name", SHARED)
def test_shared_modules_get_separate_parameters(name):
    layers = SHARED[name]()
    params = jax.eval_shape(Stack(layers).init, jax.random.key(0), INPUT)["params"]
    assert set(params) == {"layers_0", "layers_1"}
    for index, layer in enumerate(layers):
        expected = jax.eval_shape(layer.init, jax.random.key(0), INPUT)["params"]
        assert params[f"layers_{index}"] == expected


CLASS: Any = RNN
CELLS: Any = [GRUCell(4)]
NONE: Any = None
MISTAKES = {
    "a rate": (lambda: Stack([RNN(CELL)], dropout=1.5), r"dropout: given 1.5, .*\[0, 1\)"),
    "a cell": (lambda: Stack(CELLS), r"layers\[0\]: given the cell GRUCell, .*RNN\(cell\)"),
    "a class": (lambda: Stack([RNN(CELL), CLASS]), r"layers\[1\]: given the class RNN"),
    "no layers": (lambda: Stack([]), r"layers: given \[\], expected \[RNN\(cell\), ...\]"),
    "none": (lambda: Stack(NONE), "layers: given None"),
    "a pair below": (
        lambda: Stack([Bidirectional(CELL, merge="none"), RNN(CELL)]),
        r"layers\[0\]: returns a pair .*'none'",
    ),
    "last outputs below": (
        lambda: Stack([RNN(CELL, return_sequences=False), RNN(CELL)]),
        r"layers\[0\]: returns \[3, 8\], .*return_sequences=True",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_invalid_layers_raise(mistake):
    make, words = MISTAKES[mistake]
    with pytest.raises(InputError, match=words):
        make().init(jax.random.key(0), jnp.asarray(INPUT))


def test_top_layer_may_return_a_pair():
    stack = Stack([RNN(CELL), Bidirectional(CELL, merge="none")])
    forward, backward = jax.eval_shape(stack.init_with_output, jax.random.key(0), INPUT)[0][1]
    assert forward.shape == backward.shape == INPUT.shape
