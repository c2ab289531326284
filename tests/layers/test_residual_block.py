"""The causal convolution and the residual block: masks, resets, carried states, directions."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.cells import GRUCell, MinGRUCell
from rnnjax.errors import InputError
from rnnjax.layers import CausalConvolution, ResidualBlock, Stack

ROWS, TIME, INPUTS, FEATURES = 3, 9, 4, 6
INPUT = np.random.default_rng(0).standard_normal((ROWS, TIME, INPUTS)).astype(np.float32)
BLOCK: dict[str, Any] = {
    "features": FEATURES,
    "inner": 8,
    "convolution": 3,
    "groups": 2,
    "gate": True,
    "feed_forward": 5,
}
LAYERS: dict[str, Any] = {
    "convolution": lambda: CausalConvolution(3),
    "convolution, reverse": lambda: CausalConvolution(3, reverse=True),
    "block": lambda: ResidualBlock(MinGRUCell(8), **BLOCK),
    "block of a norm and a cell": lambda: ResidualBlock(GRUCell(8), FEATURES),
    "stack": lambda: Stack([ResidualBlock(MinGRUCell(8), **BLOCK)] * 2),
    "bidirectional": lambda: ResidualBlock(MinGRUCell(8), **BLOCK, bidirectional=True),
}
STREAMED = ["convolution", "block", "stack"]


@functools.cache
def variables_of(name: str) -> Any:
    """Returns random parameters of a layer, biases included, and its compiled call."""
    layer = LAYERS[name]()
    rng = np.random.default_rng(1)
    shapes = jax.eval_shape(layer.init, jax.random.key(0), INPUT)
    variables = jax.tree.map(
        lambda leaf: rng.standard_normal(leaf.shape).astype(leaf.dtype) / 2, shapes
    )
    return variables, jax.jit(layer.apply)


def run(name: str, *arguments):
    variables, apply = variables_of(name)
    state, outputs = apply(variables, *arguments)
    return jax.tree.map(np.asarray, state), np.asarray(outputs)


def with_holes(values: np.ndarray, filler: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns values with masked steps before, among and after their own, and the mask."""
    inserted = np.insert(values, [0, 2, 2, 3, 7, TIME], filler, axis=1)
    mask = np.ones(inserted.shape[:2], bool)
    mask[:, [0, 3, 4, 6, 11, 14]] = False
    return inserted, mask


@pytest.mark.parametrize("reverse", [False, True])
def test_convolution_sums_the_last_steps(reverse):
    name = "convolution, reverse" if reverse else "convolution"
    variables, _ = variables_of(name)
    kernel, bias = variables["params"]["kernel"], variables["params"]["bias"]
    expected = np.tile(bias, (ROWS, TIME, 1)).astype(np.float64)
    for t in range(TIME):
        for lag in range(3):
            source = t + lag if reverse else t - lag
            if 0 <= source < TIME:
                expected[:, t] += kernel[2 - lag] * INPUT[:, source]
    state, outputs = run(name, INPUT)
    np.testing.assert_allclose(outputs, expected, atol=1e-6)
    np.testing.assert_array_equal(state, INPUT[:, 1::-1] if reverse else INPUT[:, -2:])


@pytest.mark.parametrize("name", LAYERS)
def test_masked_steps_take_no_time(name):
    dense_state, dense = run(name, INPUT)
    inputs, mask = with_holes(INPUT, np.nan)
    state, outputs = run(name, inputs, mask)
    np.testing.assert_allclose(outputs[mask].reshape(dense.shape), dense, atol=1e-6)
    assert (outputs[~mask] == 0).all()
    jax.tree.map(functools.partial(np.testing.assert_allclose, atol=1e-6), state, dense_state)


@pytest.mark.parametrize("name", LAYERS)
def test_documents_of_a_row_equal_rows_of_their_own(name):
    resets = np.zeros((ROWS, TIME), bool)
    resets[:, [3, 4]] = True
    inputs = INPUT.copy()
    inputs[:, 3] = np.nan  # a document of one step, which spoils itself alone
    state, outputs = run(name, inputs, None, None, resets)
    for start, end in ((0, 3), (4, TIME)):
        alone, expected = run(name, INPUT[:, start:end])
        np.testing.assert_allclose(outputs[:, start:end], expected, atol=1e-6)
        is_last = (start == 0) if "reverse" in name else (end == TIME)
        if is_last and name != "bidirectional":
            jax.tree.map(functools.partial(np.testing.assert_allclose, atol=1e-6), state, alone)


@pytest.mark.parametrize("name", STREAMED)
def test_pieces_equal_the_whole(name):
    inputs, mask = with_holes(INPUT, 3.0)
    expected_state, expected = run(name, inputs, mask)
    state, pieces = None, []
    for start, end in ((0, 1), (1, 2), (2, 9), (9, 15)):
        state, outputs = run(name, inputs[:, start:end], mask[:, start:end], state)
        pieces.append(outputs)
    np.testing.assert_allclose(np.concatenate(pieces, axis=1), expected, atol=1e-6)
    jax.tree.map(functools.partial(np.testing.assert_allclose, atol=1e-6), state, expected_state)


def test_reset_at_a_masked_step_takes_effect_there():
    inputs, mask = with_holes(INPUT, np.nan)
    resets = np.zeros(mask.shape, bool)
    resets[:, 14] = True
    state, _ = run("convolution", inputs, mask, None, resets)
    np.testing.assert_array_equal(state, np.zeros((ROWS, 2, INPUTS), np.float32))


@pytest.mark.parametrize("name", ["convolution", "bidirectional"])
def test_gradients_of_masked_steps_are_zero(name):
    variables, apply = variables_of(name)
    inputs, mask = with_holes(INPUT, np.nan)
    gradient = jax.grad(lambda inputs: apply(variables, inputs, mask)[1].sum())(inputs)
    gradient = np.asarray(gradient)
    assert (gradient[~mask] == 0).all()
    assert (gradient[mask] != 0).all()


def test_last_output_is_that_of_the_last_real_step():
    inputs, mask = with_holes(INPUT, 1.0)
    mask[0] = False
    block: Any = ResidualBlock(MinGRUCell(8), **BLOCK, return_sequences=False)
    variables, _ = variables_of("block")
    state, last = block.apply(variables, inputs, mask)
    expected_state, outputs = run("block", inputs, mask)
    np.testing.assert_allclose(last[1:], outputs[1:, 13], atol=1e-6)
    np.testing.assert_array_equal(last[0], 0)
    jax.tree.map(functools.partial(np.testing.assert_allclose, atol=1e-6), state, expected_state)


def test_dropout_applies_to_what_is_added():
    block: Any = ResidualBlock(MinGRUCell(8), INPUTS, convolution=2, dropout=0.5)
    variables = block.init(jax.random.key(0), INPUT)
    added = np.asarray(block.apply(variables, INPUT)[1]) - INPUT
    rngs = {"dropout": jax.random.key(1)}
    dropped = np.asarray(block.apply(variables, INPUT, rngs=rngs)[1]) - INPUT
    is_zero = np.abs(dropped) < 1e-6
    assert 0.3 < is_zero.mean() < 0.7
    np.testing.assert_allclose(dropped[~is_zero], 2 * added[~is_zero], atol=1e-5)


def test_computation_in_bfloat16_carries_float32(implicit_promotion):
    layer: Any = ResidualBlock(MinGRUCell(8, jnp.bfloat16), **BLOCK, dtype=jnp.bfloat16)
    inputs = INPUT.astype(jnp.bfloat16)
    variables = layer.init(jax.random.key(0), inputs)
    state, outputs = layer.apply(variables, inputs)
    assert outputs.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves((state, variables))} == {np.dtype(np.float32)}


def test_mistakes_raise():
    for make, message in (
        (lambda: CausalConvolution(0), "kernel_size: given 0"),
        (lambda: ResidualBlock(GRUCell(4), 0), "features: given 0"),
        (lambda: ResidualBlock(GRUCell(4), 4, groups=-1), "groups: given -1"),
        (lambda: ResidualBlock(GRUCell(4), 4, dropout=1.0), "dropout: given 1.0"),
    ):
        with pytest.raises(InputError, match=message):
            make()
    with pytest.raises(InputError, match="groups: given 3, expected a divisor of the 4"):
        ResidualBlock(GRUCell(4), 4, groups=3).init(jax.random.key(0), INPUT)
    with pytest.raises(InputError, match="a pair of states for each direction"):
        ResidualBlock(GRUCell(4), 4).init(jax.random.key(0), INPUT, None, ())
    with pytest.raises(InputError, match=r"initial_state: given the shape \(3, 1, 4\)"):
        CausalConvolution(3).init(jax.random.key(0), INPUT, None, np.zeros((3, 1, 4), np.float32))
