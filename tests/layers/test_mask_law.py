"""The mask law, for every cell in every direction: values and gradients."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.cells import GRUCell, LSTMCell, SimpleCell
from rnnjax.layers import RNN, Bidirectional, Stack

ROWS, TIME, INPUTS, FEATURES = 6, 8, 3, 4

CELLS_UNDER_TEST: dict[str, Callable[[], nn.Module]] = {
    "SimpleCell": lambda: SimpleCell(FEATURES),
    "LSTMCell": lambda: LSTMCell(FEATURES),
    "GRUCell": lambda: GRUCell(FEATURES),
    "GRUCell, reset before": lambda: GRUCell(FEATURES, reset_after=False),
    "flax LSTMCell": lambda: nn.LSTMCell(FEATURES),
    "flax OptimizedLSTMCell": lambda: nn.OptimizedLSTMCell(FEATURES),
    "flax GRUCell": lambda: nn.GRUCell(FEATURES),
    "flax MGUCell": lambda: nn.MGUCell(FEATURES),
}

LAYERS: dict[str, Callable[[Callable[[], nn.Module]], nn.Module]] = {
    "forward": lambda cell: RNN(cell()),
    "reverse": lambda cell: RNN(cell(), reverse=True),
    "forward, scan": lambda cell: RNN(cell(), engine="scan"),
    "reverse, scan": lambda cell: RNN(cell(), reverse=True, engine="scan"),
    "bidirectional": lambda cell: Bidirectional(cell()),
    "stack": lambda cell: Stack([Bidirectional(cell()), RNN(cell(), reverse=True)]),
}

SINGLE = [(cell, layer) for cell in CELLS_UNDER_TEST for layer in ("forward", "reverse")]
# What is built of single runs needs the law to be seen for a cell of either kind.
BUILT = [(c, d) for c in ("LSTMCell", "flax GRUCell") for d in ("bidirectional", "stack")]
# The cells that have another engine, which is the default on a CPU.
SCANNED = [("LSTMCell", "forward, scan"), ("LSTMCell", "reverse, scan")]
ALL = SINGLE + SCANNED + BUILT


def mask_of(*rows: str) -> np.ndarray:
    """Returns a mask drawn with '#' for the real steps."""
    return np.array([[step == "#" for step in row] for row in rows])


RAGGED = mask_of("########", "#####...", "...#####", ".##.#.#.", "........", "....#...")
EMPTY = 4
"""The row of `RAGGED` without a real step."""
FOUR_REAL = mask_of("####....", "....####", "..####..", "#.#.#.#.", "##....##", ".#.##..#")


class Result(NamedTuple):
    """What a layer returns, and the gradients pulled back through it."""

    final: Any
    outputs: Any
    parameters: Any
    inputs: Any
    state: Any


class Case(NamedTuple):
    """A layer, everything that it reads, and a compiled run with gradients."""

    layer: nn.Module
    variables: Any
    inputs: np.ndarray
    state: Any
    cotangents: Any
    run: Callable[..., Result]


def drawn(shapes: Any, seed: int) -> Any:
    """Returns a tree of random arrays: no zeros, no symmetry, biases included."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda leaf: 0.7 * rng.standard_normal(leaf.shape).astype(leaf.dtype), shapes
    )


@functools.cache
def case(cell: str, direction: str) -> Case:
    layer = LAYERS[direction](CELLS_UNDER_TEST[cell])
    inputs = drawn(jax.ShapeDtypeStruct((ROWS, TIME, INPUTS), jnp.float32), 1)
    returned, variables = jax.eval_shape(layer.init_with_output, jax.random.key(0), inputs, RAGGED)

    def run(variables, inputs, mask, state, cotangents):
        def apply(variables, inputs, state):
            return layer.apply(variables, inputs, mask, state)

        (final, outputs), pull_back = jax.vjp(apply, variables, inputs, state)
        return Result(final, outputs, *pull_back(cotangents))

    return Case(
        layer, drawn(variables, 2), inputs, drawn(returned[0], 3), drawn(returned, 4), jax.jit(run)
    )


def run(given: Case, mask: np.ndarray | None, **changed: Any) -> Result:
    given = given._replace(**changed)
    result = given.run(given.variables, given.inputs, mask, given.state, given.cotangents)
    return jax.tree.map(np.asarray, result)


def assert_identical(actual: Any, expected: Any) -> None:
    for one, other in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert one.dtype == other.dtype
        assert one.tobytes() == other.tobytes()


def assert_close(actual: Any, expected: Any, tolerance: float = 2e-6) -> None:
    def compare(one, other):
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)

    jax.tree.map(compare, actual, expected)


def real_steps(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Cuts the masked steps out of rows that have equally many real ones."""
    return values[mask].reshape(len(mask), -1, *values.shape[2:])


def scattered(values: np.ndarray, mask: np.ndarray, fill: float) -> np.ndarray:
    """Puts the steps of dense rows at the real positions."""
    spread = np.full((*mask.shape, *values.shape[2:]), fill, values.dtype)
    spread[mask] = values.reshape(-1, *values.shape[2:])
    return spread


@pytest.mark.parametrize("junk", [-3.5, 1e30, np.inf, -np.inf, np.nan])
@pytest.mark.parametrize(("cell", "direction"), ALL)
def test_nothing_at_a_masked_position_reaches_a_result(cell, direction, junk):
    given = case(cell, direction)
    clean = run(given, RAGGED)
    littered = np.where(RAGGED[..., None], given.inputs, np.float32(junk))
    assert_identical(run(given, RAGGED, inputs=littered), clean)
    for leaf in jax.tree.leaves(clean):
        assert np.isfinite(leaf).all()
    assert (clean.inputs[~RAGGED] == 0).all()
    for leaf in jax.tree.leaves(clean.parameters):
        assert leaf.any()


@pytest.mark.parametrize(("cell", "direction"), ALL)
def test_a_masked_step_outputs_zero(cell, direction):
    outputs = run(case(cell, direction), RAGGED).outputs
    assert (outputs[~RAGGED] == 0).all()
    assert (outputs[RAGGED] != 0).all()


@pytest.mark.parametrize(("cell", "direction"), ALL)
def test_a_row_without_a_real_step_returns_its_initial_state(cell, direction):
    given = case(cell, direction)
    result = run(given, RAGGED)
    of_empty = functools.partial(jax.tree.map, lambda leaf: leaf[EMPTY])
    assert_identical(of_empty(result.final), of_empty(given.state))
    assert_identical(of_empty(result.state), of_empty(given.cotangents[0]))


@pytest.mark.parametrize(("cell", "direction"), ALL)
def test_masked_steps_anywhere_are_as_good_as_cut_out(cell, direction):
    given = case(cell, direction)
    final, outputs = given.cotangents
    padded = run(given, FOUR_REAL, cotangents=(final, outputs))
    dense = run(
        given,
        None,
        inputs=real_steps(given.inputs, FOUR_REAL),
        cotangents=(final, real_steps(outputs, FOUR_REAL)),
    )
    spread = padded._replace(
        outputs=scattered(dense.outputs, FOUR_REAL, 0.0),
        inputs=scattered(dense.inputs, FOUR_REAL, 0.0),
    )
    assert_close(padded, dense._replace(outputs=spread.outputs, inputs=spread.inputs))


@pytest.mark.parametrize(("cell", "direction"), ALL)
def test_the_order_of_the_rows_changes_nothing(cell, direction):
    given = case(cell, direction)
    order = np.array([3, 0, 5, 4, 2, 1])
    shuffled = functools.partial(jax.tree.map, lambda leaf: leaf[order])
    expected = run(given, RAGGED)
    actual = run(
        given,
        RAGGED[order],
        inputs=given.inputs[order],
        state=shuffled(given.state),
        cotangents=shuffled(given.cotangents),
    )
    per_row = expected._replace(parameters=None)
    assert_close(actual._replace(parameters=None), shuffled(per_row))
    assert_close(actual.parameters, expected.parameters, 1e-5)


@pytest.mark.parametrize(("cell", "direction"), SINGLE)
def test_a_layer_is_its_cell_called_step_by_step(cell, direction):
    given = case(cell, direction)
    alone = CELLS_UNDER_TEST[cell]()
    variables = {"params": given.variables["params"]["cell"]}
    call = jax.jit(alone.apply)
    state = given.state
    outputs = np.zeros((ROWS, TIME, FEATURES), np.float32)
    times = reversed(range(TIME)) if direction == "reverse" else range(TIME)
    for time in times:
        real = RAGGED[:, time]
        new, output = call(variables, state, given.inputs[:, time])
        # Rows are put together by number: nothing of what a masked step computes is touched.
        held = jax.tree.map(np.array, state)
        for old, changed in zip(jax.tree.leaves(held), jax.tree.leaves(new), strict=True):
            old[real] = np.asarray(changed)[real]
        state = held
        outputs[real, time] = np.asarray(output)[real]
    result = run(given, RAGGED)
    assert_close(result.outputs, outputs)
    assert_close(result.final, state)


@pytest.mark.parametrize("cell", CELLS_UNDER_TEST)
def test_reading_backwards_is_reading_the_flipped_real_steps(cell):
    forward, reverse = case(cell, "forward"), case(cell, "reverse")

    def flipped(values):
        values = values.copy()
        for row, real in zip(values, RAGGED, strict=True):
            row[real] = row[real][::-1]
        return values

    expected = run(reverse, RAGGED)
    final, outputs = reverse.cotangents
    actual = run(
        forward, RAGGED, inputs=flipped(forward.inputs), cotangents=(final, flipped(outputs))
    )
    restored = {"outputs": flipped(actual.outputs), "inputs": flipped(actual.inputs)}
    assert_close(actual._replace(**restored), expected)


@pytest.mark.parametrize("cell", CELLS_UNDER_TEST)
def test_two_calls_with_the_carried_state_are_one(cell):
    given = case(cell, "forward")
    apply = jax.jit(given.layer.apply)
    half = TIME // 2
    state, outputs = given.state, []
    for part in (slice(None, half), slice(half, None)):
        state, output = apply(given.variables, given.inputs[:, part], RAGGED[:, part], state)
        outputs.append(np.asarray(output))
    whole = run(given, RAGGED)
    assert_close(np.concatenate(outputs, axis=1), whole.outputs)
    assert_close(jax.tree.map(np.asarray, state), whole.final)


@pytest.mark.parametrize(
    ("cell", "direction"), [("LSTMCell", "bidirectional"), ("flax MGUCell", "reverse")]
)
def test_no_mask_is_a_mask_of_real_steps_only(cell, direction):
    given = case(cell, direction)
    steps = {
        "inputs": given.inputs[:, :4],
        "pulled": (given.cotangents[0], given.cotangents[1][:, :4]),
    }
    assert_close(run(given, None, **steps), run(given, np.ones((ROWS, 4), bool), **steps))


@pytest.mark.parametrize(("cell", "direction"), BUILT)
def test_the_size_of_the_batch_changes_nothing(cell, direction):
    given = case(cell, direction)
    rows = slice(1, 4)
    few = functools.partial(jax.tree.map, lambda leaf: leaf[rows])
    state, outputs = jax.jit(given.layer.apply)(
        given.variables, given.inputs[rows], RAGGED[rows], few(given.state)
    )
    whole = run(given, RAGGED)
    assert_close(outputs, whole.outputs[rows])
    assert_close(state, few(whole.final))
