"""Wrapped cells: values step by step, the mask rule, derivatives, states, built layers."""

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


class StateAsOutput(Wrapper):
    """The wrapped cell with its whole state as output, so that a layer gives that of each step."""

    output_part: ClassVar[str | None] = None

    def step(self, state, projected):
        """Returns the next state, and its parts and the output side by side."""
        new, output = self.cell.step(state, projected)
        return new, jnp.concatenate([*jax.tree.leaves(new), output], axis=-1)


def random_like(shapes: Any, seed: int) -> Any:
    """Returns a tree of random arrays of these shapes and dtypes."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda leaf: (0.7 * rng.standard_normal(leaf.shape)).astype(leaf.dtype), shapes
    )


def random_params(layer, inputs=INPUT, seed=2):
    return random_like(jax.eval_shape(layer.init, jax.random.key(0), inputs), seed)


@functools.cache
def trajectory(wrapper, cell, training, reverse):
    """Returns parameters, and the parts of the state and the output after each step of a layer."""
    layer = RNN(StateAsOutput(WRAPPERS[wrapper](CELLS[cell](FEATURES))), reverse=reverse)
    variables = random_params(layer)
    rngs = DROPOUT if training else {}
    call = jax.jit(lambda variables: layer.apply(variables, INPUT, MASK, rngs=rngs))
    outputs = np.asarray(call(variables)[1])
    parts = np.split(outputs, outputs.shape[-1] // FEATURES, axis=-1)
    return variables["params"]["cell"]["cell"], parts


@functools.cache
def compile_cell(cell):
    inner = CELLS[cell](FEATURES)
    return jax.tree.structure(inner.initial_state((ROWS, INPUTS))), jax.jit(inner.apply)


def iterate_steps(cell, params, reverse):
    """Yields for each step: its time, which rows are real, and the bare cell as a function."""
    structure, call = compile_cell(cell)
    for time in range(TIME)[:: -1 if reverse else 1]:

        def step(parts, inputs=INPUT[:, time]):
            new, output = call({"params": params}, structure.unflatten(parts), inputs)
            return [np.asarray(part) for part in jax.tree.leaves(new)], np.asarray(output)

        yield time, MASK[:, time, None], step


def zero_state(cell):
    """Returns the parts of the state of a cell before the first step."""
    return [np.zeros((ROWS, FEATURES), np.float32) for _ in range(1 + (cell == "lstm"))]


def assert_close(actual, expected):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-6), actual, expected)


def assert_identical(actual, expected):
    for actual_leaf, expected_leaf in zip(
        jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True
    ):
        assert np.asarray(actual_leaf).tobytes() == np.asarray(expected_leaf).tobytes()


@pytest.mark.parametrize(("cell", "reverse"), RUNS)
def test_zoneout_in_evaluation_is_the_expectation(cell, reverse):
    params, (*states, outputs) = trajectory("zoneout", cell, False, reverse)
    old = zero_state(cell)
    for time, valid, step in iterate_steps(cell, params["cell"], reverse):
        new = [RATE * a + (1 - RATE) * b for a, b in zip(old, step(old)[0], strict=True)]
        old = [np.where(valid, a, b) for a, b in zip(new, old, strict=True)]
        assert_close([state[:, time] for state in states], [np.where(valid, a, 0) for a in old])
        assert_close(outputs[:, time], np.where(valid, old[0], 0))


@pytest.mark.parametrize(("cell", "reverse"), RUNS)
def test_zoneout_in_training_selects_old_or_new_values(cell, reverse):
    params, (*states, outputs) = trajectory("zoneout", cell, True, reverse)
    old, choices = zero_state(cell), []
    for time, valid, step in iterate_steps(cell, params["cell"], reverse):
        new = step(old)[0]
        for index, (old_value, new_value) in enumerate(zip(old, new, strict=True)):
            state = states[index][:, time]
            is_retained = np.abs(state - old_value) < 1e-6
            assert (is_retained ^ (np.abs(state - new_value) < 1e-6))[valid[:, 0]].all()
            assert (state[~valid[:, 0]] == 0).all()
            old[index] = np.where(valid, state, old_value)
            choices.append(is_retained[0])
        assert_close(outputs[:, time], np.where(valid, old[0], 0))
    # The first row is real throughout. No two draws of a unit's row are alike, nor are two parts'.
    choices = np.array(choices)
    assert 0 < choices.mean() < 1
    assert len(np.unique(choices, axis=0)) > len(choices) // 2


@pytest.mark.parametrize(
    ("cell", "reverse", "training"),
    [*((cell, False, True) for cell in CELLS), ("lstm", True, False)],
)
def test_recurrent_dropout_uses_one_mask_per_sequence(cell, reverse, training):
    params, (*states, keep, outputs) = trajectory("dropout", cell, training, reverse)
    mask = keep.max(axis=1)
    np.testing.assert_array_equal(keep[MASK], np.broadcast_to(mask[:, None], keep.shape)[MASK])
    expected = {0, np.float32(1 / (1 - RATE))} if training else {1}
    assert set(np.unique(keep[MASK])) == expected
    assert len(np.unique(mask[:EMPTY], axis=0)) > (1 if training else 0)
    old = zero_state(cell)
    for time, valid, step in iterate_steps(cell, params["cell"], reverse):
        new, output = step([old[0] * mask, *old[1:]])
        old = [np.where(valid, a, b) for a, b in zip(new, old, strict=True)]
        assert_close([state[:, time] for state in states], [np.where(valid, a, 0) for a in old])
        assert_close(outputs[:, time], np.where(valid, output, 0))


@pytest.mark.parametrize("cell", CELLS)
def test_learned_initial_state_equals_an_explicit_one(cell):
    inner = CELLS[cell](FEATURES)
    layer = RNN(LearnedInitialState(inner))
    variables = random_params(layer)
    params = variables["params"]["cell"]
    names = ["hidden", "cell"] if cell == "lstm" else ["state"]
    assert set(params) == {"cell", *(f"initial_{name}" for name in names)}
    learned = [params[f"initial_{name}"] for name in names]
    assert {part.shape for part in learned} == {(FEATURES,)}
    structure = jax.tree.structure(inner.initial_state((1, INPUTS)))
    initial_state = structure.unflatten(np.tile(part, (ROWS, 1)) for part in learned)

    @jax.jit
    def run_both(variables):
        bare = {"params": {"cell": variables["params"]["cell"]["cell"]}}
        expected = RNN(inner).apply(bare, INPUT, MASK, initial_state)
        return layer.apply(variables, INPUT, MASK), expected

    (final, outputs), expected = run_both(variables)
    assert_close((final, outputs), expected)
    assert_identical(jax.tree.map(lambda leaf: leaf[EMPTY], final), learned)


def test_learned_initial_state_initializers():
    def initial_params(cell):
        wrapped = cell.init(jax.random.key(0), (ROWS, INPUTS), method="initial_state")
        return jax.tree.map(np.asarray, wrapped["params"])

    halves = FlaxCell(nn.GRUCell(FEATURES, carry_init=nn.initializers.constant(0.5)))
    assert initial_params(LearnedInitialState(halves))["initial_state"].tolist() == [0.5] * FEATURES
    from_normal = initial_params(
        LearnedInitialState(LSTMCell(2), state_init=nn.initializers.normal(1.0))
    )
    assert (from_normal["initial_hidden"] != 0).all()
    assert not np.allclose(from_normal["initial_hidden"], from_normal["initial_cell"])


def test_learned_initial_state_follows_resets():
    layer = RNN(LearnedInitialState(GRUCell(FEATURES)))
    variables = random_params(layer)
    resets = (np.arange(TIME) == 3)[None]

    apply = jax.jit(lambda *initial_state: layer.apply(variables, *initial_state)[1])
    packed = apply(INPUT[:1], None, None, resets)
    separate = [np.asarray(apply(part)) for part in (INPUT[:1, :3], INPUT[:1, 3:])]
    assert_close(packed, np.concatenate(separate, axis=1))


def test_learned_initial_state_of_images_is_per_channel():
    images = random_like(jax.ShapeDtypeStruct((2, 3, 5, INPUTS), jnp.float32), 1)
    cell = FlaxCell(nn.ConvLSTMCell(FEATURES, kernel_size=(2,)))
    layer = RNN(LearnedInitialState(cell), return_sequences=False)
    variables = random_params(layer, images)
    assert variables["params"]["cell"]["initial_1"].shape == (FEATURES,)
    (_, hidden), _ = jax.jit(layer.apply)(variables, images, np.zeros((2, 3), bool))
    expected = np.broadcast_to(variables["params"]["cell"]["initial_1"], (2, 5, FEATURES))
    np.testing.assert_array_equal(hidden, expected)


@functools.cache
def compile_gradient(wrapper, cell, built):
    """Returns a compiled run with gradients under `MASK`, its state and its inputs drawn."""
    wrapped = WRAPPERS[wrapper](CELLS[cell](FEATURES))
    layer = RNN(wrapped) if built == "single" else Bidirectional(wrapped)
    returned, variables = jax.eval_shape(layer.init_with_output, jax.random.key(0), INPUT, MASK)
    variables, state, cotangents = (
        random_like(variables, 2),
        random_like(returned[0], 3),
        random_like(returned, 4),
    )

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
def test_mask_law_holds_in_training(wrapper, cell, built):
    run, state, cotangents = compile_gradient(wrapper, cell, built)
    clean = run(np.where(MASK[..., None], INPUT, 7))
    for masked_value in (np.nan, np.inf):
        assert_identical(run(np.where(MASK[..., None], INPUT, np.float32(masked_value))), clean)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(clean))
    (final, outputs), (_, inputs, of_state) = clean
    assert (np.asarray(outputs)[~MASK] == 0).all()
    assert (np.asarray(inputs)[~MASK] == 0).all()
    assert (np.asarray(inputs)[MASK] != 0).any()
    of_empty = functools.partial(jax.tree.map, lambda leaf: leaf[EMPTY])
    assert_identical(of_empty(final), of_empty(state))
    assert_identical(of_empty(of_state), of_empty(cotangents[0]))


@pytest.mark.parametrize("cell", ["lstm", "flax"])
def test_gradients_equal_finite_differences(cell):
    with jax.enable_x64(True):
        layer = RNN(WRAPPERS["all"](CELLS[cell](2, param_dtype=jnp.float64)))
        inputs = random_like(jax.ShapeDtypeStruct((3, 3, 2), jnp.float64), 1)
        mask = np.array([[True] * 3, [False, True, False], [False] * 3])
        arguments = random_params(layer, inputs), inputs

        @jax.jit
        @jax.value_and_grad
        def run(arguments):
            returned = layer.apply(*arguments, mask, rngs=DROPOUT)
            return sum(jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves(returned))

        gradient = run(arguments)[1]
        assert all(leaf.any() for leaf in jax.tree.leaves(gradient))
        for seed in range(3, 8):
            direction = random_like(arguments, seed)
            upper, lower = (
                run(jax.tree.map(lambda value, step: value + eps * step, arguments, direction))[0]  # noqa: B023
                for eps in (1e-5, -1e-5)
            )
            slope = sum(map(np.vdot, jax.tree.leaves(gradient), jax.tree.leaves(direction)))
            np.testing.assert_allclose((upper - lower) / 2e-5, slope, rtol=1e-7, atol=1e-8)


def test_dropout_mask_has_no_gradient():
    layer = RNN(RecurrentDropout(LSTMCell(FEATURES), RATE))
    variables = random_params(layer)
    state = random_like(jax.eval_shape(layer.apply, variables, INPUT)[0], 3)

    @jax.jit
    @jax.grad
    def gradient(state):
        outputs: Any = layer.apply(variables, INPUT, None, state)[1]
        return outputs.sum()

    assert not gradient(state).keep.any()
    assert (gradient(state).state.hidden != 0).all()


def test_dropout_mask_is_carried_between_calls():
    layer = RNN(RecurrentDropout(LSTMCell(FEATURES), RATE))
    variables = random_params(layer)
    apply = jax.jit(layer.apply)
    final, outputs = apply(variables, INPUT, MASK, rngs=DROPOUT)
    state, first = apply(variables, INPUT[:, :3], MASK[:, :3], rngs=DROPOUT)
    state, second = apply(variables, INPUT[:, 3:], MASK[:, 3:], state)
    assert_close(np.concatenate([first, second], axis=1), outputs)
    assert_close(state, final)


@pytest.mark.usefixtures("implicit_promotion")  # of flax, in bfloat16
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_step_keeps_the_structure_of_the_state(wrapper, cell):
    layer = RNN(WRAPPERS[wrapper](CELLS[cell](FEATURES, dtype=jnp.bfloat16)))
    inputs = INPUT.astype(jnp.bfloat16)
    variables = random_params(layer, inputs)

    def step(layer, inputs):
        state = layer.cell.initial_state((ROWS, INPUTS))
        return state, *layer.cell(state, inputs[:, 0])

    call = functools.partial(nn.apply(step, layer), rngs=DROPOUT)
    old_state, new_state, output = jax.eval_shape(call, variables, inputs)
    assert old_state == new_state
    assert {leaf.dtype for leaf in jax.tree.leaves(old_state)} == {jnp.dtype("float32")}
    inner = jax.eval_shape(layer.apply, variables, inputs)[1]
    assert output.dtype == inner.dtype == ("float32" if cell == "flax" else "bfloat16")
    # Outside of `apply` there is nothing to draw from.
    if wrapper in ("zoneout", "dropout"):
        assert jax.eval_shape(lambda: layer.cell.initial_state((ROWS, INPUTS))) == old_state


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_directions_have_separate_parameters(wrapper):
    wrapped = WRAPPERS[wrapper](SimpleCell(FEATURES))
    inner = jax.eval_shape(RNN(wrapped).init, jax.random.key(0), INPUT)["params"]
    built = jax.eval_shape(Bidirectional(wrapped).init, jax.random.key(0), INPUT)["params"]
    assert built == {"forward": inner, "backward": inner}


def test_directions_and_layers_draw_separate_masks():
    wrapped = RecurrentDropout(SimpleCell(9), RATE)
    layer = Stack([Bidirectional(wrapped), RNN(wrapped.copy())])
    variables = random_params(layer)
    (directions, final), _ = jax.jit(functools.partial(layer.apply, rngs=DROPOUT))(variables, INPUT)
    masks = np.array([state.keep for state in (*directions, final)]).reshape(3, -1)
    assert len(np.unique(masks, axis=0)) == 3
