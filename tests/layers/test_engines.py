"""Every engine equals nn.scan: values and gradients, under every mask."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from rnnjax.cells import GRUCell, LinearCell, LSTMCell, MGUCell, SimpleCell
from rnnjax.errors import InputError
from rnnjax.layers import RNN, available_engines, rnn

ROWS, TIME, INPUTS, FEATURES = 5, 7, 3, 4
RAGGED = np.array(
    [
        [step == "#" for step in row]
        for row in ("#######", "####...", "...####", "#.##.#.", ".......")
    ]
)


class LeakyCell(LinearCell):
    """s' = a s + (1 - a) x, read through a gate of the input."""

    def setup(self):
        """Makes a gate, the new part and the gate of the output."""
        self.input = self.dense(3 * self.features)

    def project(self, inputs):
        """Projects the inputs."""
        return self.input(inputs)

    def coefficients(self, projected):
        """Returns a, and (1 - a) x."""
        a, new, _ = jnp.split(projected.astype(self.param_dtype), 3, axis=-1)
        a = jax.nn.sigmoid(a)
        return a, (1 - a) * new

    def read(self, state, projected):
        """Returns the state through its gate."""
        gate = jnp.split(projected, 3, axis=-1)[2]
        return jnp.tanh(gate) * state.astype(projected.dtype)


CELLS = [
    (LSTMCell, "fused"),
    (GRUCell, "fused"),
    (SimpleCell, "fused"),
    (functools.partial(SimpleCell, activation="relu"), "fused"),
    (functools.partial(SimpleCell, activation="identity"), "fused"),
    (LeakyCell, "fused"),
    (LeakyCell, "associative"),
]


def random_like(shapes: Any, seed: int) -> Any:
    """Returns a tree of random arrays of these shapes and dtypes."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda leaf: jnp.asarray(0.7 * rng.standard_normal(leaf.shape), leaf.dtype), shapes
    )


def run_with_gradients(layer: RNN, mask: np.ndarray | None) -> Any:
    """Returns final state and outputs, and the gradients of everything that the layer reads."""
    inputs = random_like(jax.ShapeDtypeStruct((ROWS, TIME, INPUTS), jnp.float32), 1)
    returned, variables = jax.eval_shape(layer.init_with_output, jax.random.key(0), inputs)
    variables, state = random_like(variables, 2), random_like(returned[0], 3)

    @jax.jit
    def run(variables, inputs, state):
        outputs, pull_back = jax.vjp(
            lambda *arguments: layer.apply(arguments[0], arguments[1], mask, arguments[2]),
            variables,
            inputs,
            state,
        )
        return outputs, pull_back(random_like(returned, 4))

    return run(variables, inputs, state)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("sequences", [False, True])
def test_long_sequences_run_in_chunks(monkeypatch, sequences, reverse):
    lengths = []
    fused = LSTMCell.fused

    def record_length(cell, state, projected, *rest):
        lengths.append(projected.shape[1])
        return fused(cell, state, projected, *rest)

    monkeypatch.setattr(LSTMCell, "fused", record_length)
    monkeypatch.setattr(rnn, "_CACHE_BYTES", 0)
    monkeypatch.setattr(rnn, "_SEGMENT_ROWS", ROWS)
    layer = RNN(LSTMCell(FEATURES), reverse, sequences, "fused")
    actual = run_with_gradients(layer, RAGGED)
    assert {*lengths} == {4, 3}
    expected = run_with_gradients(layer.clone(engine="scan"), RAGGED)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), actual, expected
    )


@pytest.mark.parametrize(("cell", "engine"), CELLS)
@pytest.mark.parametrize(
    ("reverse", "mask", "dtype", "tolerance"),
    [
        (False, None, "float32", 2e-5),
        (False, RAGGED, "float32", 2e-5),
        (True, RAGGED, "float32", 2e-5),
        (True, RAGGED, "bfloat16", 0.02),
    ],
    ids=["no mask", "ragged", "reverse", "bfloat16"],
)
def test_engine_equals_scan(cell, engine, reverse, mask, dtype, tolerance):
    layer_cell = cell(FEATURES, dtype=jnp.dtype(dtype))
    scan, actual = (
        run_with_gradients(RNN(layer_cell, reverse, engine=name), mask) for name in ("scan", engine)
    )

    def compare(expected, actual):
        assert expected.dtype == actual.dtype
        expected, actual = (np.asarray(name, np.float32) for name in (expected, actual))
        # Of a sum of large terms the error is theirs.
        atol = tolerance * max(1, np.abs(actual).max())
        np.testing.assert_allclose(expected, actual, rtol=tolerance, atol=atol)

    jax.tree.map(compare, actual, scan)
    assert all(np.asarray(leaf, np.float32).any() for leaf in jax.tree.leaves(actual))


@pytest.mark.parametrize(("cell", "engine"), CELLS)
def test_gradients_equal_finite_differences(cell, engine):
    with jax.enable_x64(True):
        layer = RNN(cell(FEATURES, param_dtype=jnp.float64), reverse=True, engine=engine)
        inputs = random_like(jax.ShapeDtypeStruct((ROWS, TIME, INPUTS), jnp.float64), 1)
        returned, variables = jax.eval_shape(layer.init_with_output, jax.random.key(0), inputs)
        arguments = random_like(variables, 2), inputs, random_like(returned[0], 3)
        check_grads(
            lambda variables, inputs, state: layer.apply(variables, inputs, RAGGED, state),
            arguments,
            order=1,
            modes=["rev"],
            eps=1e-5,
            atol=1e-7,
            rtol=1e-7,
        )


def test_auto_selects_the_measured_engine():
    def loops(engine):
        layer = RNN(LSTMCell(FEATURES), engine=engine)
        inputs = jnp.ones((ROWS, TIME, INPUTS))
        variables = layer.init(jax.random.key(0), inputs)
        return str(jax.make_jaxpr(layer.apply)(variables, inputs))

    expected = "fused" if jax.default_backend() == "cpu" else "scan"
    assert "custom_vjp" in loops("fused")
    assert "custom_vjp" not in loops("scan")
    assert loops("auto") == loops(expected)


class NegatedStep(LSTMCell):
    """Another cell: it inherits everything but the step."""

    def step(self, state, projected):
        """Negates the output of the LSTM."""
        state, output = super().step(state, projected)
        return state, -output


def test_overriding_step_drops_inherited_engines():
    inputs = random_like(jax.ShapeDtypeStruct((ROWS, TIME, INPUTS), jnp.float32), 1)
    variables = RNN(LSTMCell(FEATURES)).init(jax.random.key(0), inputs)
    _, outputs = RNN(LSTMCell(FEATURES)).apply(variables, inputs)
    _, negated = RNN(NegatedStep(FEATURES)).apply(variables, inputs)
    np.testing.assert_allclose(np.asarray(negated), -np.asarray(outputs), atol=1e-6)
    with pytest.raises(InputError, match="Negated"):
        RNN(NegatedStep(FEATURES), engine="fused").apply(variables, inputs)


class HalvedUpdate(LSTMCell):
    """Another cell: it inherits everything but a part of the step."""

    def dropped(self, candidate):
        """Halves the update of the state."""
        return 0.5 * candidate


class HalvedStep(LeakyCell):
    """Another linear cell: it inherits the step's parts, and takes half of it."""

    def step(self, state, projected):
        """Returns half of the step that is inherited."""
        state, output = super().step(state, projected)
        return 0.5 * state, output


def test_available_engines():
    assert available_engines(SimpleCell(FEATURES)) == ("scan", "fused")
    assert available_engines(LSTMCell(FEATURES)) == ("scan", "fused", "pallas", "cudnn")
    assert available_engines(GRUCell(FEATURES)) == ("scan", "fused", "pallas")
    for cell in (
        SimpleCell(FEATURES, activation=jnp.sin),
        LSTMCell(FEATURES, peepholes=True),
        GRUCell(FEATURES, reset_after=False),
        GRUCell(FEATURES, update_dropout=0.1),
    ):
        assert available_engines(cell) == ("scan",)
    assert available_engines(LeakyCell(FEATURES)) == ("scan", "fused", "associative")
    for cell in (NegatedStep(FEATURES), HalvedUpdate(FEATURES), HalvedStep(FEATURES)):
        assert available_engines(cell) == ("scan",)


class OwnSequence(LeakyCell):
    """A linear cell with a function for whole sequences of its own, which knows no resets."""

    def fused(self, state, projected, mask, reverse):
        """Returns ones."""
        return state, jnp.ones_like(projected)


def test_fused_of_a_linear_cell_may_be_its_own():
    inputs = jnp.full((ROWS, TIME, FEATURES), 0.5)
    layer = RNN(OwnSequence(FEATURES), engine="fused")
    outputs = np.asarray(layer.init_with_output(jax.random.key(0), inputs)[0][1])
    np.testing.assert_array_equal(outputs, np.ones_like(outputs))
    assert available_engines(OwnSequence(FEATURES)) == ("scan", "fused", "associative")
    assert available_engines(OwnSequence(FEATURES), resets=True) == ("scan", "associative")


def test_unavailable_engines_raise():
    wrong: Any = "fast"
    inputs = jnp.ones((ROWS, TIME, INPUTS))
    with pytest.raises(
        InputError,
        match="'fast', expected one of auto, scan, fused, pallas, cudnn, associative, chunkwise",
    ):
        RNN(MGUCell(FEATURES), engine=wrong).init(jax.random.key(0), inputs)
    with pytest.raises(InputError, match="MGUCell"):
        RNN(MGUCell(FEATURES), engine="fused").init(jax.random.key(0), inputs)


@pytest.mark.parametrize("cell", [SimpleCell(3), LSTMCell(3), GRUCell(3)], ids=repr)
def test_second_derivatives_of_fused_engines_equal_those_of_the_scan(cell):
    inputs = jax.random.normal(jax.random.key(1), (2, 3, 2))
    variables = RNN(cell).init(jax.random.key(0), inputs)

    def hessian(engine):
        def loss(inputs):
            return jnp.sum(RNN(cell, engine=engine).apply(variables, inputs)[1] ** 2)  # pyright: ignore

        return jax.hessian(loss)(inputs)

    expected = hessian("scan")
    assert jnp.abs(expected).max() > 1e-3
    np.testing.assert_allclose(hessian("fused"), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("cell", "engine"),
    [(LSTMCell(2), "fused"), (LeakyCell(2), "fused"), (LeakyCell(2), "associative")],
    ids=["lstm", "linear", "associative"],
)
@pytest.mark.parametrize("derivative", [jax.jacfwd, lambda loss: jax.jit(jax.jacfwd(loss))])
def test_forward_mode_names_the_engine_that_has_it(derivative, cell, engine):
    inputs = jnp.ones((1, 2, 3))
    layer = RNN(cell, engine=engine)
    variables = layer.init(jax.random.key(0), inputs)
    with pytest.raises(InputError, match=r"reverse mode .* take engine='scan'"):
        derivative(lambda inputs: layer.apply(variables, inputs)[1])(inputs)
