"""The mask rule, for every cell in every direction: values and gradients."""

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
# Layers composed of single runs are tested for one cell of each kind.
COMPOSED = [(c, d) for c in ("LSTMCell", "flax GRUCell") for d in ("bidirectional", "stack")]
# The cells that have another engine, which is the default on a CPU.
SCANNED = [("LSTMCell", "forward, scan"), ("LSTMCell", "reverse, scan")]
ALL = SINGLE + SCANNED + COMPOSED


def mask_of(*rows: str) -> np.ndarray:
    """Returns a mask drawn with '#' for the real steps."""
    return np.array([[step == "#" for step in row] for row in rows])


RAGGED = mask_of("########", "#####...", "...#####", ".##.#.#.", "........", "....#...")
EMPTY = 4
"""The row of `RAGGED` without a real step."""
FOUR_VALID = mask_of("####....", "....####", "..####..", "#.#.#.#.", "##....##", ".#.##..#")


class LayerResult(NamedTuple):
    """Results of a layer, and the gradients of all that it reads."""

    final: Any
    outputs: Any
    parameters: Any
    inputs: Any
    state: Any


class LayerCase(NamedTuple):
    """A layer, everything that it reads, and a compiled run with gradients."""

    layer: nn.Module
    variables: Any
    inputs: np.ndarray
    state: Any
    cotangents: Any
    run: Callable[..., LayerResult]


def random_like(shapes: Any, seed: int) -> Any:
    """Returns a tree of random arrays: no zeros, no symmetry, biases included."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda leaf: 0.7 * rng.standard_normal(leaf.shape).astype(leaf.dtype), shapes
    )


@functools.cache
def make_case(cell: str, direction: str) -> LayerCase:
    layer = LAYERS[direction](CELLS_UNDER_TEST[cell])
    inputs = random_like(jax.ShapeDtypeStruct((ROWS, TIME, INPUTS), jnp.float32), 1)
    returned, variables = jax.eval_shape(layer.init_with_output, jax.random.key(0), inputs, RAGGED)

    def run(variables, inputs, mask, state, cotangents):
        def apply(variables, inputs, state):
            return layer.apply(variables, inputs, mask, state)

        (final, outputs), pull_back = jax.vjp(apply, variables, inputs, state)
        return LayerResult(final, outputs, *pull_back(cotangents))

    return LayerCase(
        layer,
        random_like(variables, 2),
        inputs,
        random_like(returned[0], 3),
        random_like(returned, 4),
        jax.jit(run),
    )


def run(case: LayerCase, mask: np.ndarray | None, **changes: Any) -> LayerResult:
    case = case._replace(**changes)
    result = case.run(case.variables, case.inputs, mask, case.state, case.cotangents)
    return jax.tree.map(np.asarray, result)


def assert_identical(actual: Any, expected: Any) -> None:
    for actual_leaf, expected_leaf in zip(
        jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True
    ):
        assert actual_leaf.dtype == expected_leaf.dtype
        assert actual_leaf.tobytes() == expected_leaf.tobytes()


def assert_close(actual: Any, expected: Any, tolerance: float = 2e-6) -> None:
    def compare(actual_leaf, expected_leaf):
        np.testing.assert_allclose(actual_leaf, expected_leaf, rtol=tolerance, atol=tolerance)

    jax.tree.map(compare, actual, expected)


def dense_steps(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Cuts the masked steps out of rows that have equally many real ones."""
    return values[mask].reshape(len(mask), -1, *values.shape[2:])


def scatter_steps(values: np.ndarray, mask: np.ndarray, fill: float) -> np.ndarray:
    """Puts the steps of dense rows at the real positions."""
    spread = np.full((*mask.shape, *values.shape[2:]), fill, values.dtype)
    spread[mask] = values.reshape(-1, *values.shape[2:])
    return spread


@pytest.mark.parametrize("masked_value", [-3.5, 1e30, np.inf, -np.inf, np.nan])
@pytest.mark.parametrize(("cell", "direction"), ALL)
def test_masked_values_do_not_affect_results(cell, direction, masked_value):
    case = make_case(cell, direction)
    clean = run(case, RAGGED)
    inputs = np.where(RAGGED[..., None], case.inputs, np.float32(masked_value))
    assert_identical(run(case, RAGGED, inputs=inputs), clean)
    for leaf in jax.tree.leaves(clean):
        assert np.isfinite(leaf).all()
    assert (clean.inputs[~RAGGED] == 0).all()
    for leaf in jax.tree.leaves(clean.parameters):
        assert leaf.any()


@pytest.mark.parametrize(("cell", "direction"), ALL)
def test_masked_steps_output_zero(cell, direction):
    outputs = run(make_case(cell, direction), RAGGED).outputs
    assert (outputs[~RAGGED] == 0).all()
    assert (outputs[RAGGED] != 0).all()


@pytest.mark.parametrize(("cell", "direction"), ALL)
def test_empty_row_returns_its_initial_state(cell, direction):
    case = make_case(cell, direction)
    result = run(case, RAGGED)
    of_empty = functools.partial(jax.tree.map, lambda leaf: leaf[EMPTY])
    assert_identical(of_empty(result.final), of_empty(case.state))
    assert_identical(of_empty(result.state), of_empty(case.cotangents[0]))


@pytest.mark.parametrize(("cell", "direction"), ALL)
def test_masked_steps_equal_removed_steps(cell, direction):
    case = make_case(cell, direction)
    final, outputs = case.cotangents
    padded = run(case, FOUR_VALID, cotangents=(final, outputs))
    dense = run(
        case,
        None,
        inputs=dense_steps(case.inputs, FOUR_VALID),
        cotangents=(final, dense_steps(outputs, FOUR_VALID)),
    )
    spread = padded._replace(
        outputs=scatter_steps(dense.outputs, FOUR_VALID, 0.0),
        inputs=scatter_steps(dense.inputs, FOUR_VALID, 0.0),
    )
    assert_close(padded, dense._replace(outputs=spread.outputs, inputs=spread.inputs))


@pytest.mark.parametrize(("cell", "direction"), ALL)
def test_row_order_changes_nothing(cell, direction):
    case = make_case(cell, direction)
    order = np.array([3, 0, 5, 4, 2, 1])
    shuffled = functools.partial(jax.tree.map, lambda leaf: leaf[order])
    expected = run(case, RAGGED)
    actual = run(
        case,
        RAGGED[order],
        inputs=case.inputs[order],
        state=shuffled(case.state),
        cotangents=shuffled(case.cotangents),
    )
    per_row = expected._replace(parameters=None)
    assert_close(actual._replace(parameters=None), shuffled(per_row))
    assert_close(actual.parameters, expected.parameters, 1e-5)


@pytest.mark.parametrize(("cell", "direction"), SINGLE)
def test_layer_equals_its_cell_step_by_step(cell, direction):
    case = make_case(cell, direction)
    cell_module = CELLS_UNDER_TEST[cell]()
    variables = {"params": case.variables["params"]["cell"]}
    call = jax.jit(cell_module.apply)
    state = case.state
    outputs = np.zeros((ROWS, TIME, FEATURES), np.float32)
    times = reversed(range(TIME)) if direction == "reverse" else range(TIME)
    for time in times:
        valid = RAGGED[:, time]
        new, output = call(variables, state, case.inputs[:, time])
        # Rows are merged by index, so that values of masked steps are never read.
        merged = jax.tree.map(np.array, state)
        for old, changes in zip(jax.tree.leaves(merged), jax.tree.leaves(new), strict=True):
            old[valid] = np.asarray(changes)[valid]
        state = merged
        outputs[valid, time] = np.asarray(output)[valid]
    result = run(case, RAGGED)
    assert_close(result.outputs, outputs)
    assert_close(result.final, state)


@pytest.mark.parametrize("cell", CELLS_UNDER_TEST)
def test_reverse_equals_flipped_valid_steps(cell):
    forward, reverse = make_case(cell, "forward"), make_case(cell, "reverse")

    def flip_valid(values):
        values = values.copy()
        for row, valid in zip(values, RAGGED, strict=True):
            row[valid] = row[valid][::-1]
        return values

    expected = run(reverse, RAGGED)
    final, outputs = reverse.cotangents
    actual = run(
        forward, RAGGED, inputs=flip_valid(forward.inputs), cotangents=(final, flip_valid(outputs))
    )
    restored = {"outputs": flip_valid(actual.outputs), "inputs": flip_valid(actual.inputs)}
    assert_close(actual._replace(**restored), expected)


@pytest.mark.parametrize("cell", CELLS_UNDER_TEST)
def test_two_calls_with_carried_state_equal_one(cell):
    case = make_case(cell, "forward")
    apply = jax.jit(case.layer.apply)
    half = TIME // 2
    state, outputs = case.state, []
    for time_slice in (slice(None, half), slice(half, None)):
        state, output = apply(
            case.variables, case.inputs[:, time_slice], RAGGED[:, time_slice], state
        )
        outputs.append(np.asarray(output))
    expected = run(case, RAGGED)
    assert_close(np.concatenate(outputs, axis=1), expected.outputs)
    assert_close(jax.tree.map(np.asarray, state), expected.final)


@pytest.mark.parametrize(
    ("cell", "direction"), [("LSTMCell", "bidirectional"), ("flax MGUCell", "reverse")]
)
def test_no_mask_equals_a_full_mask(cell, direction):
    case = make_case(cell, direction)
    steps = {
        "inputs": case.inputs[:, :4],
        "cotangents": (case.cotangents[0], case.cotangents[1][:, :4]),
    }
    assert_close(run(case, None, **steps), run(case, np.ones((ROWS, 4), bool), **steps))


@pytest.mark.parametrize(("cell", "direction"), COMPOSED)
def test_batch_size_changes_nothing(cell, direction):
    case = make_case(cell, direction)
    rows = slice(1, 4)
    select_rows = functools.partial(jax.tree.map, lambda leaf: leaf[rows])
    state, outputs = jax.jit(case.layer.apply)(
        case.variables, case.inputs[rows], RAGGED[rows], select_rows(case.state)
    )
    expected = run(case, RAGGED)
    assert_close(outputs, expected.outputs[rows])
    assert_close(state, select_rows(expected.final))
