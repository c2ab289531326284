"""Wrapped cells: their values step by step, the mask law, derivatives, states, and built layers."""

import functools
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.cells import GRUCell, LSTMCell, SimpleCell
from rnnjax.cells.wrappers import (
    FlaxCell,
    LearnedInitialState,
    RecurrentDropout,
    Wrapper,
    Zoneout,
)
from rnnjax.layers import RNN, Bidirectional, Stack

ROWS, TIME, INPUTS, FEATURES, RATE = 5, 7, 3, 4, 0.4
INPUT = np.random.default_rng(0).standard_normal((ROWS, TIME, INPUTS)).astype(np.float32)
MASK = np.array(
    [
        [step == "#" for step in row]
        for row in ("#######", "####...", "..#####", ".##.#.#", ".......")
    ]
)
EMPTY = 4
"""The row of `MASK` without a real step."""
DROPOUT = {"dropout": jax.random.key(1)}

CELLS = {
    "simple": SimpleCell,
    "lstm": LSTMCell,
    "gru": GRUCell,
    "flax": lambda features, **options: FlaxCell(nn.GRUCell(features, **options)),
}
WRAPPERS = {
    "zoneout": lambda cell: Zoneout(cell, RATE),
    "dropout": lambda cell: RecurrentDropout(cell, RATE),
    "learned": LearnedInitialState,
    "all": lambda cell: Zoneout(RecurrentDropout(LearnedInitialState(cell), RATE), RATE),
}
RUNS = [("simple", False), ("lstm", False), ("lstm", True), ("gru", False), ("flax", False)]


class Shown(Wrapper):
    """The wrapped cell with its whole state as output, so that a layer gives that of each step."""

    output_part: ClassVar[str | None] = None

    def step(self, state, projected):
        """Returns the next state, and its parts and the output side by side."""
        new, output = self.cell.step(state, projected)
        return new, jnp.concatenate([*jax.tree.leaves(new), output], axis=-1)


def drawn(shapes: Any, seed: int) -> Any:
    """Returns a tree of random arrays of these shapes and dtypes."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda leaf: (0.7 * rng.standard_normal(leaf.shape)).astype(leaf.dtype), shapes
    )


def parameters(layer, inputs=INPUT, seed=2):
    return drawn(jax.eval_shape(layer.init, jax.random.key(0), inputs), seed)


@functools.cache
def trajectory(wrapper, cell, training, reverse):
    """Returns parameters, and the parts of the state and the output after each step of a layer."""
    layer = RNN(Shown(WRAPPERS[wrapper](CELLS[cell](FEATURES))), reverse=reverse)
    variables = parameters(layer)
    rngs = DROPOUT if training else {}
    call = jax.jit(lambda variables: layer.apply(variables, INPUT, MASK, rngs=rngs))
    outputs = np.asarray(call(variables)[1])
    parts = np.split(outputs, outputs.shape[-1] // FEATURES, axis=-1)
    return variables["params"]["cell"]["cell"], parts


@functools.cache
def compiled(cell):
    bare = CELLS[cell](FEATURES)
    return jax.tree.structure(bare.initial_state((ROWS, INPUTS))), jax.jit(bare.apply)


def steps_of(cell, params, reverse):
    """Yields for each step: its time, which rows are real, and the bare cell as a function."""
    structure, call = compiled(cell)
    for time in range(TIME)[:: -1 if reverse else 1]:

        def step(parts, inputs=INPUT[:, time]):
            new, output = call({"params": params}, structure.unflatten(parts), inputs)
            return [np.asarray(part) for part in jax.tree.leaves(new)], np.asarray(output)

        yield time, MASK[:, time, None], step


def zeros(cell):
    """Returns the parts of the state of a cell before the first step."""
    return [np.zeros((ROWS, FEATURES), np.float32) for _ in range(1 + (cell == "lstm"))]


def assert_close(actual, expected):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-6), actual, expected)


def assert_identical(actual, expected):
    for one, other in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert np.asarray(one).tobytes() == np.asarray(other).tobytes()


@pytest.mark.parametrize(("cell", "reverse"), RUNS)
def test_zoneout_in_an_evaluation_is_its_expectation(cell, reverse):
    params, (*states, outputs) = trajectory("zoneout", cell, False, reverse)
    old = zeros(cell)
    for time, real, step in steps_of(cell, params["cell"], reverse):
        new = [RATE * a + (1 - RATE) * b for a, b in zip(old, step(old)[0], strict=True)]
        old = [np.where(real, a, b) for a, b in zip(new, old, strict=True)]
        assert_close([state[:, time] for state in states], [np.where(real, a, 0) for a in old])
        assert_close(outputs[:, time], np.where(real, old[0], 0))


@pytest.mark.parametrize(("cell", "reverse"), RUNS)
def test_zoneout_keeps_old_values_or_takes_new_ones_and_draws_at_every_step(cell, reverse):
    params, (*states, outputs) = trajectory("zoneout", cell, True, reverse)
    old, choices = zeros(cell), []
    for time, real, step in steps_of(cell, params["cell"], reverse):
        new = step(old)[0]
        for index, (before, after) in enumerate(zip(old, new, strict=True)):
            state = states[index][:, time]
            kept = np.abs(state - before) < 1e-6
            assert (kept ^ (np.abs(state - after) < 1e-6))[real[:, 0]].all()
            assert (state[~real[:, 0]] == 0).all()
            old[index] = np.where(real, state, before)
            choices.append(kept[0])
        assert_close(outputs[:, time], np.where(real, old[0], 0))
    # The first row is real throughout. No two draws of a unit's row are alike, nor are two parts'.
    choices = np.array(choices)
    assert 0 < choices.mean() < 1
    assert len(np.unique(choices, axis=0)) > len(choices) // 2


@pytest.mark.parametrize(
    ("cell", "reverse", "training"),
    [*((cell, False, True) for cell in CELLS), ("lstm", True, False)],
)
def test_recurrent_dropout_reads_the_state_through_one_mask(cell, reverse, training):
    params, (*states, keep, outputs) = trajectory("dropout", cell, training, reverse)
    mask = keep.max(axis=1)
    np.testing.assert_array_equal(keep[MASK], np.broadcast_to(mask[:, None], keep.shape)[MASK])
    expected = {0, np.float32(1 / (1 - RATE))} if training else {1}
    assert set(np.unique(keep[MASK])) == expected
    assert len(np.unique(mask[:EMPTY], axis=0)) > (1 if training else 0)
    old = zeros(cell)
    for time, real, step in steps_of(cell, params["cell"], reverse):
        new, output = step([old[0] * mask, *old[1:]])
        old = [np.where(real, a, b) for a, b in zip(new, old, strict=True)]
        assert_close([state[:, time] for state in states], [np.where(real, a, 0) for a in old])
        assert_close(outputs[:, time], np.where(real, output, 0))


@pytest.mark.parametrize("cell", CELLS)
def test_a_learned_initial_state_is_a_state_given_to_every_row(cell):
    bare = CELLS[cell](FEATURES)
    layer = RNN(LearnedInitialState(bare))
    variables = parameters(layer)
    params = variables["params"]["cell"]
    names = ["hidden", "cell"] if cell == "lstm" else ["state"]
    assert set(params) == {"cell", *(f"initial_{name}" for name in names)}
    learned = [params[f"initial_{name}"] for name in names]
    assert {part.shape for part in learned} == {(FEATURES,)}
    structure = jax.tree.structure(bare.initial_state((1, INPUTS)))
    given = structure.unflatten(np.tile(part, (ROWS, 1)) for part in learned)

    @jax.jit
    def both(variables):
        inner = {"params": {"cell": variables["params"]["cell"]["cell"]}}
        return layer.apply(variables, INPUT, MASK), RNN(bare).apply(inner, INPUT, MASK, given)

    (final, outputs), expected = both(variables)
    assert_close((final, outputs), expected)
    assert_identical(jax.tree.map(lambda leaf: leaf[EMPTY], final), learned)


def test_a_learned_initial_state_begins_with_the_cells_own_or_with_what_it_is_told():
    def begun(cell):
        made = cell.init(jax.random.key(0), (ROWS, INPUTS), method="initial_state")
        return jax.tree.map(np.asarray, made["params"])

    halves = FlaxCell(nn.GRUCell(FEATURES, carry_init=nn.initializers.constant(0.5)))
    assert begun(LearnedInitialState(halves))["initial_state"].tolist() == [0.5] * FEATURES
    told = begun(LearnedInitialState(LSTMCell(2), state_init=nn.initializers.normal(1.0)))
    assert (told["initial_hidden"] != 0).all()
    assert not np.allclose(told["initial_hidden"], told["initial_cell"])


def test_a_learned_initial_state_begins_every_document_of_a_row():
    layer = RNN(LearnedInitialState(GRUCell(FEATURES)))
    variables = parameters(layer)
    resets = (np.arange(TIME) == 3)[None]

    apply = jax.jit(lambda *given: layer.apply(variables, *given)[1])
    packed = apply(INPUT[:1], None, None, resets)
    alone = [np.asarray(apply(part)) for part in (INPUT[:1, :3], INPUT[:1, 3:])]
    assert_close(packed, np.concatenate(alone, axis=1))


def test_a_learned_initial_state_has_a_value_for_each_channel_of_images():
    images = drawn(jax.ShapeDtypeStruct((2, 3, 5, INPUTS), jnp.float32), 1)
    cell = FlaxCell(nn.ConvLSTMCell(FEATURES, kernel_size=(2,)))
    layer = RNN(LearnedInitialState(cell), return_sequences=False)
    variables = parameters(layer, images)
    assert variables["params"]["cell"]["initial_1"].shape == (FEATURES,)
    (_, hidden), _ = jax.jit(layer.apply)(variables, images, np.zeros((2, 3), bool))
    expected = np.broadcast_to(variables["params"]["cell"]["initial_1"], (2, 5, FEATURES))
    np.testing.assert_array_equal(hidden, expected)


@functools.cache
def differentiated(wrapper, cell, built):
    """Returns a compiled run with gradients under `MASK`, its state and its inputs drawn."""
    made = WRAPPERS[wrapper](CELLS[cell](FEATURES))
    layer = RNN(made) if built == "single" else Bidirectional(made)
    returned, variables = jax.eval_shape(layer.init_with_output, jax.random.key(0), INPUT, MASK)
    variables, state, cotangents = drawn(variables, 2), drawn(returned[0], 3), drawn(returned, 4)

    @jax.jit
    def run(inputs):
        def apply(variables, inputs, state):
            return layer.apply(variables, inputs, MASK, state, rngs=DROPOUT)

        returned, pull_back = jax.vjp(apply, variables, inputs, state)
        return returned, pull_back(cotangents)

    return run, state, cotangents


MASKED = [("zoneout", "lstm", "single"), ("dropout", "flax", "single")]
MASKED += [("learned", "gru", "single"), ("all", "simple", "built")]


@pytest.mark.parametrize(("wrapper", "cell", "built"), MASKED)
def test_the_mask_law_holds_in_training(wrapper, cell, built):
    run, state, cotangents = differentiated(wrapper, cell, built)
    clean = run(np.where(MASK[..., None], INPUT, 7))
    for junk in (np.nan, np.inf):
        assert_identical(run(np.where(MASK[..., None], INPUT, np.float32(junk))), clean)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(clean))
    (final, outputs), (_, inputs, of_state) = clean
    assert (np.asarray(outputs)[~MASK] == 0).all()
    assert (np.asarray(inputs)[~MASK] == 0).all()
    assert (np.asarray(inputs)[MASK] != 0).any()
    of_empty = functools.partial(jax.tree.map, lambda leaf: leaf[EMPTY])
    assert_identical(of_empty(final), of_empty(state))
    assert_identical(of_empty(of_state), of_empty(cotangents[0]))


@pytest.mark.parametrize("cell", ["lstm", "flax"])
def test_derivatives_are_those_of_finite_differences(cell):
    with jax.enable_x64(True):
        layer = RNN(WRAPPERS["all"](CELLS[cell](2, param_dtype=jnp.float64)))
        inputs = drawn(jax.ShapeDtypeStruct((3, 3, 2), jnp.float64), 1)
        mask = np.array([[True] * 3, [False, True, False], [False] * 3])
        given = parameters(layer, inputs), inputs

        @jax.jit
        @jax.value_and_grad
        def run(given):
            returned = layer.apply(*given, mask, rngs=DROPOUT)
            return sum(jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves(returned))

        gradient = run(given)[1]
        assert all(leaf.any() for leaf in jax.tree.leaves(gradient))
        for seed in range(3, 8):
            way = drawn(given, seed)
            there, back = (
                run(jax.tree.map(lambda at, by: at + eps * by, given, way))[0]  # noqa: B023
                for eps in (1e-5, -1e-5)
            )
            slope = sum(map(np.vdot, jax.tree.leaves(gradient), jax.tree.leaves(way)))
            np.testing.assert_allclose((there - back) / 2e-5, slope, rtol=1e-7, atol=1e-8)


def test_no_gradient_flows_to_the_mask_of_dropout():
    layer = RNN(RecurrentDropout(LSTMCell(FEATURES), RATE))
    variables = parameters(layer)
    state = drawn(jax.eval_shape(layer.apply, variables, INPUT)[0], 3)

    @jax.jit
    @jax.grad
    def gradient(state):
        outputs: Any = layer.apply(variables, INPUT, None, state)[1]
        return outputs.sum()

    assert not gradient(state).keep.any()
    assert (gradient(state).state.hidden != 0).all()


def test_a_sequence_in_two_calls_keeps_its_mask_of_dropout():
    layer = RNN(RecurrentDropout(LSTMCell(FEATURES), RATE))
    variables = parameters(layer)
    apply = jax.jit(layer.apply)
    final, whole = apply(variables, INPUT, MASK, rngs=DROPOUT)
    state, first = apply(variables, INPUT[:, :3], MASK[:, :3], rngs=DROPOUT)
    state, second = apply(variables, INPUT[:, 3:], MASK[:, 3:], state)
    assert_close(np.concatenate([first, second], axis=1), whole)
    assert_close(state, final)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_a_step_gives_back_the_state_that_it_is_given(wrapper, cell):
    layer = RNN(WRAPPERS[wrapper](CELLS[cell](FEATURES, dtype=jnp.bfloat16)))
    inputs = INPUT.astype(jnp.bfloat16)
    variables = parameters(layer, inputs)

    def both(layer, inputs):
        state = layer.cell.initial_state((ROWS, INPUTS))
        return state, *layer.cell(state, inputs[:, 0])

    call = nn.apply(both, layer)
    before, after, output = jax.eval_shape(functools.partial(call, rngs=DROPOUT), variables, inputs)
    assert before == after
    assert {leaf.dtype for leaf in jax.tree.leaves(before)} == {jnp.dtype("float32")}
    bare = jax.eval_shape(layer.apply, variables, inputs)[1]
    assert output.dtype == bare.dtype == ("float32" if cell == "flax" else "bfloat16")
    # Outside of `apply` there is nothing to draw from.
    if wrapper in ("zoneout", "dropout"):
        assert jax.eval_shape(lambda: layer.cell.initial_state((ROWS, INPUTS))) == before


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_each_direction_has_a_cell_of_its_own(wrapper):
    made = WRAPPERS[wrapper](SimpleCell(FEATURES))
    bare = jax.eval_shape(RNN(made).init, jax.random.key(0), INPUT)["params"]
    built = jax.eval_shape(Bidirectional(made).init, jax.random.key(0), INPUT)["params"]
    assert built == {"forward": bare, "backward": bare}


def test_each_direction_and_each_layer_draws_for_itself():
    made = RecurrentDropout(SimpleCell(9), RATE)
    layer = Stack([Bidirectional(made), RNN(made.copy())])
    variables = parameters(layer)
    (both, final), _ = jax.jit(functools.partial(layer.apply, rngs=DROPOUT))(variables, INPUT)
    masks = np.array([each.keep for each in (*both, final)]).reshape(3, -1)
    assert len(np.unique(masks, axis=0)) == 3
