"""Every engine computes what nn.scan computes: values and gradients, under every mask."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from rnnjax.cells import LSTMCell, SimpleCell
from rnnjax.errors import InputError
from rnnjax.layers import RNN

ROWS, TIME, INPUTS, FEATURES = 5, 7, 3, 4
RAGGED = np.array(
    [
        [step == "#" for step in row]
        for row in ("#######", "####...", "...####", "#.##.#.", ".......")
    ]
)
FUSED = {"LSTMCell": LSTMCell}


def drawn(shapes: Any, seed: int) -> Any:
    """Returns a tree of random arrays of these shapes and dtypes."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda leaf: jnp.asarray(0.7 * rng.standard_normal(leaf.shape), leaf.dtype), shapes
    )


def pulled(layer: RNN, mask: np.ndarray | None) -> Any:
    """Returns final state and outputs, and the gradients of everything that the layer reads."""
    inputs = drawn(jax.ShapeDtypeStruct((ROWS, TIME, INPUTS), jnp.float32), 1)
    returned, variables = jax.eval_shape(layer.init_with_output, jax.random.key(0), inputs)
    variables, state = drawn(variables, 2), drawn(returned[0], 3)

    @jax.jit
    def run(variables, inputs, state):
        outputs, pull_back = jax.vjp(
            lambda *given: layer.apply(given[0], given[1], mask, given[2]), variables, inputs, state
        )
        return outputs, pull_back(drawn(returned, 4))

    return run(variables, inputs, state)


@pytest.mark.parametrize("name", FUSED)
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("mask", [None, RAGGED], ids=["no mask", "ragged"])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 2e-5), ("bfloat16", 0.05)])
def test_fused_is_the_scan(name, reverse, mask, dtype, tolerance):
    cell = FUSED[name](FEATURES, dtype=jnp.dtype(dtype))
    scan, fused = (pulled(RNN(cell, reverse, engine=engine), mask) for engine in ("scan", "fused"))

    def compare(one, other):
        assert one.dtype == other.dtype
        one, other = (np.asarray(each, np.float32) for each in (one, other))
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)

    jax.tree.map(compare, fused, scan)
    assert all(np.asarray(leaf, np.float32).any() for leaf in jax.tree.leaves(fused))


@pytest.mark.parametrize("name", FUSED)
@pytest.mark.parametrize("reverse", [False, True])
def test_the_derivative_written_by_hand_is_that_of_finite_differences(name, reverse):
    with jax.enable_x64(True):
        layer = RNN(FUSED[name](FEATURES, param_dtype=jnp.float64), reverse, engine="fused")
        inputs = drawn(jax.ShapeDtypeStruct((ROWS, TIME, INPUTS), jnp.float64), 1)
        returned, variables = jax.eval_shape(layer.init_with_output, jax.random.key(0), inputs)
        given = drawn(variables, 2), inputs, drawn(returned[0], 3)
        check_grads(
            lambda variables, inputs, state: layer.apply(variables, inputs, RAGGED, state),
            given,
            order=1,
            modes=["rev"],
            atol=1e-7,
            rtol=1e-7,
        )


def test_the_fastest_engine_that_is_known_here_is_the_default():
    def loops(engine):
        layer = RNN(LSTMCell(FEATURES), engine=engine)
        inputs = jnp.ones((ROWS, TIME, INPUTS))
        variables = layer.init(jax.random.key(0), inputs)
        return str(jax.make_jaxpr(layer.apply)(variables, inputs))

    expected = "fused" if jax.default_backend() == "cpu" else "scan"
    assert "custom_vjp" in loops("fused")
    assert "custom_vjp" not in loops("scan")
    assert loops("auto") == loops(expected)


class Negated(LSTMCell):
    """Another cell: it inherits everything but the step."""

    def step(self, state, projected):
        """Returns what the LSTM returns, negated."""
        state, output = super().step(state, projected)
        return state, -output


def test_a_cell_with_a_step_of_its_own_does_not_run_the_engine_that_it_inherits():
    inputs = drawn(jax.ShapeDtypeStruct((ROWS, TIME, INPUTS), jnp.float32), 1)
    variables = RNN(LSTMCell(FEATURES)).init(jax.random.key(0), inputs)
    _, outputs = RNN(LSTMCell(FEATURES)).apply(variables, inputs)
    _, negated = RNN(Negated(FEATURES)).apply(variables, inputs)
    np.testing.assert_allclose(np.asarray(negated), -np.asarray(outputs), atol=1e-6)
    with pytest.raises(InputError, match="Negated"):
        RNN(Negated(FEATURES), engine="fused").apply(variables, inputs)


def test_an_engine_that_there_is_not_is_refused():
    wrong: Any = "fast"
    inputs = jnp.ones((ROWS, TIME, INPUTS))
    with pytest.raises(InputError, match="'fast', expected one of auto, scan, fused"):
        RNN(SimpleCell(FEATURES), engine=wrong).init(jax.random.key(0), inputs)
    with pytest.raises(InputError, match="SimpleCell"):
        RNN(SimpleCell(FEATURES), engine="fused").init(jax.random.key(0), inputs)
