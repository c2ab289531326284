"""Layers: last outputs, merges, states and errors."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.cells import GRUCell, LSTMCell, SimpleCell
from rnnjax.errors import InputError
from rnnjax.layers import RNN, Bidirectional, Stack

ROWS, TIME, INPUTS, FEATURES = 5, 6, 3, 4
INPUT = np.random.default_rng(0).standard_normal((ROWS, TIME, INPUTS)).astype(np.float32)
MASK = np.array(
    [[step == "#" for step in row] for row in ("######", "###...", "..####", ".#.##.", "......")]
)
FIRST, LAST = np.array([0, 0, 2, 1, 0]), np.array([5, 2, 5, 4, 0])
"""First and last valid step of each row of `MASK`; arbitrary for the empty row."""


def random_params(layer, inputs=INPUT, seed=1):
    """Returns random parameters for a layer, biases included."""
    shapes = jax.eval_shape(layer.init, jax.random.key(0), inputs)
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda leaf: 0.7 * rng.standard_normal(leaf.shape).astype(leaf.dtype), shapes
    )


def apply_layer(layer, variables, *arguments, **options):
    """Returns the results of a layer in NumPy arrays."""
    call = jax.jit(lambda *arguments: layer.apply(*arguments, **options))
    return jax.tree.map(np.asarray, call(variables, *arguments))


@pytest.mark.parametrize("cell", [LSTMCell(FEATURES), nn.GRUCell(FEATURES)], ids=["ours", "flax"])
@pytest.mark.parametrize("masked", [True, False])
def test_last_output_is_at_the_last_valid_step(cell, masked):
    mask = MASK if masked else None
    variables = random_params(RNN(cell))
    rows = np.arange(ROWS)
    for reverse in (False, True):
        _, outputs = apply_layer(RNN(cell, reverse=reverse), variables, INPUT, mask)
        _, last = apply_layer(
            RNN(cell, reverse=reverse, return_sequences=False), variables, INPUT, mask
        )
        where = FIRST if reverse else LAST
        where = where if masked else np.full(ROWS, 0 if reverse else TIME - 1)
        assert last.shape == (ROWS, FEATURES)
        np.testing.assert_array_equal(last, outputs[rows, where])
        assert not masked or (last[-1] == 0).all()


def test_bidirectional_last_outputs_are_the_final_states():
    layer = Bidirectional(SimpleCell(FEATURES), return_sequences=False)
    variables = random_params(layer)
    (forward, backward), last = apply_layer(layer, variables, INPUT, MASK)
    # The output of a simple cell is its state; a row with no real step outputs zero.
    np.testing.assert_array_equal(last, np.concatenate([forward, backward], axis=-1))


@pytest.mark.parametrize("cell", [LSTMCell(FEATURES), nn.MGUCell(FEATURES)], ids=["ours", "flax"])
def test_bidirectional_layer_equals_two_layers(cell):
    layer = Bidirectional(cell, merge="none")
    variables = random_params(layer)
    assert set(variables["params"]) == {"forward", "backward"}
    states = jax.tree.map(
        lambda leaf: np.linspace(-1, 1, ROWS * FEATURES, dtype=np.float32).reshape(leaf.shape),
        jax.eval_shape(layer.apply, variables, INPUT)[0],
    )
    finals, halves = apply_layer(layer, variables, INPUT, MASK, states)
    for index, name in enumerate(("forward", "backward")):
        single = RNN(cell, reverse=name == "backward")
        arguments = {"params": variables["params"][name]}
        final, outputs = apply_layer(single, arguments, INPUT, MASK, states[index])
        np.testing.assert_allclose(halves[index], outputs, atol=1e-6)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), finals[index], final)
    assert not np.allclose(halves[0], halves[1])


def test_bidirectional_layer_passes_remat():
    def stretches(layer):
        return str(jax.make_jaxpr(layer.apply)(random_params(layer), INPUT)).count("remat2[")

    cell = SimpleCell(FEATURES)
    assert stretches(Bidirectional(cell)) == 0
    single = stretches(RNN(cell, remat=True))
    assert stretches(Bidirectional(cell, remat=True)) == 2 * single > 0


@pytest.mark.parametrize(
    ("merge", "function"),
    [
        ("concat", lambda a, b: np.concatenate([a, b], axis=-1)),
        ("sum", lambda a, b: a + b),
        ("mul", lambda a, b: a * b),
        ("ave", lambda a, b: 0.5 * (a + b)),
    ],
)
@pytest.mark.parametrize("return_sequences", [True, False])
def test_merge_functions(merge, function, return_sequences):
    cell = SimpleCell(FEATURES)
    halves = Bidirectional(cell, merge="none", return_sequences=return_sequences)
    merged = Bidirectional(cell, merge=merge, return_sequences=return_sequences)
    variables = random_params(halves)
    _, (forward, backward) = apply_layer(halves, variables, INPUT, MASK)
    _, outputs = apply_layer(merged, variables, INPUT, MASK)
    np.testing.assert_allclose(outputs, function(forward, backward), atol=1e-6)


def test_stack_equals_layers_in_sequence():
    lower, upper = Bidirectional(GRUCell(FEATURES)), RNN(SimpleCell(2), return_sequences=False)
    stack = Stack([lower, upper])
    variables = random_params(stack)
    states = jax.tree.map(
        lambda leaf: np.linspace(-1, 1, leaf.size, dtype=np.float32).reshape(leaf.shape),
        jax.eval_shape(stack.apply, variables, INPUT)[0],
    )
    finals, outputs = apply_layer(stack, variables, INPUT, MASK, states)
    params = variables["params"]
    first, hidden = apply_layer(lower, {"params": params["layers_0"]}, INPUT, MASK, states[0])
    second, last = apply_layer(upper, {"params": params["layers_1"]}, hidden, MASK, states[1])
    np.testing.assert_allclose(outputs, last, atol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), finals, (first, second))


def test_stack_dropout_is_between_layers():
    layers = [RNN(SimpleCell(INPUTS)), RNN(SimpleCell(2))]
    stack = Stack(layers, dropout=0.5)
    variables = random_params(stack)
    without_dropout = apply_layer(stack, variables, INPUT, MASK)

    @jax.jit
    def with_dropout(seed):
        rngs = {"dropout": jax.random.key(seed)}
        return stack.apply(variables, INPUT, MASK, rngs=rngs)

    (first, _), outputs = jax.tree.map(np.asarray, with_dropout(1))
    np.testing.assert_array_equal(outputs, with_dropout(1)[1])
    assert not np.array_equal(outputs, with_dropout(2)[1])
    assert not np.array_equal(outputs, without_dropout[1])
    # The inputs of the first layer and the outputs of the last one are not dropped.
    np.testing.assert_allclose(first, without_dropout[0][0], atol=1e-6)
    assert (outputs[MASK] != 0).all()


class HalfStateCell(SimpleCell):
    """A simple cell that does not start from zeros."""

    def initial_state(self, input_shape):
        """Returns halves."""
        return jnp.full((*input_shape[:-1], self.features), 0.5)


@pytest.mark.parametrize(
    "cell",
    [HalfStateCell(FEATURES), nn.GRUCell(FEATURES, carry_init=nn.initializers.constant(0.5))],
    ids=["ours", "flax"],
)
def test_default_initial_state_is_that_of_the_cell(cell):
    variables = random_params(RNN(cell))
    halves = np.full((ROWS, FEATURES), 0.5, np.float32)
    final, outputs = apply_layer(RNN(cell), variables, INPUT, MASK)
    expected = apply_layer(RNN(cell), variables, INPUT, MASK, halves)
    np.testing.assert_allclose(outputs, expected[1], atol=1e-6)
    np.testing.assert_array_equal(final[-1], halves[-1])


def test_inputs_with_two_feature_axes():
    images = np.random.default_rng(0).standard_normal((ROWS, TIME, 3, 2)).astype(np.float32)
    layer = RNN(nn.ConvLSTMCell(FEATURES, kernel_size=(2,)), return_sequences=False)
    variables = random_params(layer, images)
    clean = apply_layer(layer, variables, images, MASK)
    littered = np.where(MASK[..., None, None], images, np.float32(np.nan))
    jax.tree.map(
        np.testing.assert_array_equal, apply_layer(layer, variables, littered, MASK), clean
    )
    assert clean[1].shape == (ROWS, 3, FEATURES)
    assert (clean[1][-1] == 0).all()


CELL = SimpleCell(FEATURES)
CLASS: Any = SimpleCell
MAX: Any = "max"
MISTAKES = {
    "a mask of numbers": (RNN(CELL), (INPUT, MASK.astype(np.int32)), ("int32", "bool")),
    "a mask of another time": (RNN(CELL), (INPUT, MASK[:, :-1]), ("(5, 5)", "(5, 6)")),
    "a mask of another batch": (RNN(CELL), (INPUT, MASK[:-1]), ("(4, 6)", "(5, 6)")),
    "a mask with a feature axis": (RNN(CELL), (INPUT, MASK[..., None]), ("(5, 6, 1)",)),
    "a single sequence": (RNN(CELL), (INPUT[0],), ("(6, 3)", "[batch, time, features]")),
    "no step": (RNN(CELL), (INPUT[:, :0],), ("(5, 0, 3)", "at least one", "masked")),
    "a list as mask": (RNN(CELL), (INPUT, MASK.tolist()), ("mask is a list", "jnp.asarray(mask)")),
    "lists as inputs": (RNN(CELL), (INPUT.tolist(),), ("inputs is a list",)),
    "an engine in both directions": (
        Bidirectional(CELL, engine="associative"),
        (INPUT,),
        ("'associative'", "SimpleCell has scan"),
    ),
    "a class": (RNN(CLASS), (INPUT,), ("instance", "LSTMCell(64), not LSTMCell")),
    "a layer as cell": (RNN(RNN(CELL)), (INPUT,), ("RNN", "rnnjax.cells.Cell")),
    "a class in both directions": (Bidirectional(CLASS), (INPUT,), ("instance",)),
    "an unknown merge": (Bidirectional(CELL, merge=MAX), (INPUT,), ("'max'", "concat")),
    "a wrong mask in a stack": (Stack([RNN(CELL)]), (INPUT, MASK[:-1]), ("(4, 6)", "(5, 6)")),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_invalid_arguments_raise(mistake):
    layer, arguments, words = MISTAKES[mistake]
    with pytest.raises(InputError) as caught:
        layer.init(jax.random.key(0), *arguments)
    for word in words:
        assert word in str(caught.value)
