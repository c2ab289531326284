"""The engine 'newton' equals the scan, says which rows it solved, and returns no wrong number."""

import functools
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.cells import (
    Cell,
    GRUCell,
    LRUCell,
    LSTMCell,
    MinGRUCell,
    ParaGRUCell,
    ParaLSTMCell,
    SimpleCell,
)
from rnnjax.cells.base import jacobian_structure
from rnnjax.errors import InputError
from rnnjax.layers import RNN, Newton, explain
from rnnjax.testing.harness import compiler_options

INPUTS, FEATURES = 3, 4
LENGTHS = np.array([1, 2, 7, 64, 257])


def inputs_of(rows, time, seed=1):
    return np.random.default_rng(seed).standard_normal((rows, time, INPUTS)).astype(np.float32)


@functools.cache
def program(layer, gradients):
    """Returns the compiled function of a layer: results, verdict and gradients."""

    def run(mask, resets, *arrays):
        def apply(variables, inputs, state):
            arguments = variables, inputs, mask, state, resets
            results, collections = layer.apply(*arguments, mutable="newton")
            return results, collections.get("newton", {})

        if not gradients:
            return *apply(*arrays), None
        results, pull_back, verdict = jax.vjp(apply, *arrays, has_aux=True)
        cotangents = jax.tree.map(lambda leaf: jnp.sin(7 + leaf).astype(leaf.dtype), results)
        return results, verdict, pull_back(cotangents)

    return jax.jit(run, compiler_options=compiler_options())


def run(layer, variables, inputs, mask=None, resets=None, gradients=True):
    """Returns ((final, outputs), gradients of variables, inputs and state, verdict)."""
    state = jax.tree.map(
        lambda leaf: jnp.full(leaf.shape, 0.3, leaf.dtype),
        jax.eval_shape(layer.apply, variables, inputs)[0],
    )
    compiled = program(layer, gradients)
    results, verdict, grads = compiled(mask, resets, variables, inputs, state)
    return results, grads, {name: np.asarray(values) for name, values in verdict.items()}


def assert_close(actual, expected, tolerance=1e-5):
    def compare(a, b):
        assert a.dtype == b.dtype
        a, b = (np.asarray(leaf.astype(jnp.complex64)) for leaf in (a, b))
        atol = tolerance * max(1.0, np.abs(b).max())  # of a sum of large terms the error is theirs
        np.testing.assert_allclose(a, b, rtol=0, atol=atol)

    jax.tree.map(compare, actual, expected)


def assert_equals_scan(layer, inputs, mask=None, resets=None, tolerance=1e-5):
    """Asserts values and gradients equal to the scan's, and returns the verdict."""
    scan = layer.clone(engine="scan")
    variables = scan.init(jax.random.key(0), inputs)
    results, grads, verdict = run(layer, variables, inputs, mask, resets)
    expected, expected_grads, _ = run(scan, variables, inputs, mask, resets)
    assert_close(results, expected, tolerance)
    assert_close(grads, expected_grads, tolerance)
    return verdict


@pytest.mark.parametrize("cell", [GRUCell, LSTMCell, SimpleCell, MinGRUCell])
def test_rows_of_any_length_equal_the_scan(cell):
    mask = np.arange(257)[None] < LENGTHS[:, None]
    layer = RNN(cell(FEATURES), engine="newton")
    verdict = assert_equals_scan(layer, inputs_of(5, 257), mask)
    assert verdict["converged"].all()
    assert (verdict["iterations"] <= np.minimum(LENGTHS, 20)).all()
    assert (verdict["lyapunov_exponent"] < -0.05).all()


@pytest.mark.parametrize("time", [1, 2, 7])
def test_sequences_of_any_length_equal_the_scan(time):
    layer = RNN(SimpleCell(FEATURES), engine="newton")
    verdict = assert_equals_scan(layer, inputs_of(2, time))
    assert verdict["converged"].all()


@pytest.mark.parametrize(
    ("cell", "options"),
    [
        (ParaLSTMCell, Newton()),
        (LRUCell, Newton()),
        (GRUCell, Newton(jacobian="diagonal", damping=0.1)),
        (nn.LSTMCell, Newton()),
    ],
    ids=["blocks", "complex", "diagonal", "flax"],
)
@pytest.mark.usefixtures("implicit_promotion")  # of flax's cell
def test_holes_and_resets_in_reverse_equal_the_scan(cell, options):
    rng = np.random.default_rng(2)
    mask, resets = rng.random((4, 12)) < 0.7, rng.random((4, 12)) < 0.2
    mask[1], resets[1] = False, False
    layer = RNN(cell(FEATURES), reverse=True, engine=options)
    verdict = assert_equals_scan(layer, inputs_of(4, 12), mask, resets)
    assert verdict["converged"].all()
    assert verdict["iterations"][1] == 0


def test_bfloat16_is_solved_in_float32():
    layer = RNN(ParaGRUCell(FEATURES, dtype=jnp.bfloat16), engine="newton")
    verdict = assert_equals_scan(layer, inputs_of(2, 9), tolerance=0.03)
    assert verdict["converged"].all()
    assert verdict["residual"].max() < 1e-5


def test_stretches_of_remat_equal_one_solution():
    layer, inputs = RNN(ParaGRUCell(FEATURES), engine="newton"), inputs_of(2, 7)
    variables = layer.init(jax.random.key(0), inputs)
    apply, segmented = (
        jax.jit(layer.clone(remat=remat).apply, compiler_options=compiler_options())
        for remat in (False, True)
    )
    assert_close(segmented(variables, inputs), apply(variables, inputs))


def test_float64_is_solved_in_float64():
    with jax.enable_x64(True):
        layer = RNN(ParaGRUCell(FEATURES, param_dtype=jnp.float64), engine="newton")
        inputs = inputs_of(2, 9).astype(np.float64)
        scan = layer.clone(engine="scan")
        variables = scan.init(jax.random.key(0), inputs)
        results, _, verdict = run(layer, variables, inputs, gradients=False)
        expected = scan.apply(variables, inputs, None, np.full((2, FEATURES), 0.3))
        assert verdict["residual"].dtype == np.float64
        np.testing.assert_allclose(results[1], np.asarray(expected[1]), rtol=0, atol=1e-12)


CHAOTIC = SimpleCell(8, recurrent_init=nn.initializers.normal(3.0))
"""A cell that is chaotic where its inputs are small and saturates where they are large."""


def chaotic_layer(**options):
    return RNN(CHAOTIC, engine=Newton(**options))


def chaotic_inputs(time=40):
    """Two rows that are saturated, and two chaotic ones."""
    return inputs_of(4, time) * np.array([0.1, 300, 0.1, 300], np.float32)[:, None, None]


def test_chaotic_rows_are_reported_and_finished_by_the_scan():
    layer, inputs = chaotic_layer(max_iterations=8), chaotic_inputs()
    verdict = assert_equals_scan(layer, inputs, tolerance=1e-3)
    np.testing.assert_array_equal(verdict["converged"], [False, True, False, True])
    assert (verdict["lyapunov_exponent"][::2] > 0.1).all()
    assert (verdict["lyapunov_exponent"][1::2] < 0).all()


def test_bad_rows_change_no_bit_of_another():
    layer, inputs = chaotic_layer(max_iterations=8), chaotic_inputs()
    variables = layer.init(jax.random.key(0), inputs)
    broken = inputs.copy()
    broken[0, 5], broken[2] = np.nan, inputs[1]
    results, grads, verdict = run(layer, variables, inputs)
    changed, changed_grads, changed_verdict = run(layer, variables, broken)
    for before, after in (
        (results[1], changed[1]),
        (grads[1], changed_grads[1]),
        (verdict["iterations"], changed_verdict["iterations"]),
    ):
        np.testing.assert_array_equal(np.asarray(before)[1::2], np.asarray(after)[1::2])
    np.testing.assert_array_equal(changed_verdict["converged"], [False, True, True, True])
    outputs = np.asarray(changed[1])
    assert np.isfinite(outputs[0, :5]).all()
    assert np.isnan(outputs[0, 5:]).all()


def test_as_many_iterations_as_steps_are_exact():
    layer, inputs = chaotic_layer(), chaotic_inputs(16)
    scan = layer.clone(engine="scan")
    variables = scan.init(jax.random.key(0), inputs)
    results, _, verdict = run(layer, variables, inputs, gradients=False)
    expected, _, _ = run(scan, variables, inputs, gradients=False)
    assert verdict["converged"].all()
    np.testing.assert_allclose(results[1], np.asarray(expected[1]), atol=1e-4)


def test_unconverged_rows_are_an_error_where_asked():
    layer, inputs = chaotic_layer(max_iterations=8, unconverged="error"), chaotic_inputs()
    variables = layer.init(jax.random.key(0), inputs)
    with pytest.raises(InputError, match="2 of 4 rows have not converged within 8 iterations"):
        layer.apply(variables, inputs)
    (_, outputs), _, _ = run(layer, variables, inputs, gradients=False)
    is_nan = np.isnan(outputs).all(axis=(1, 2))
    np.testing.assert_array_equal(is_nan, [True, False, True, False])
    assert np.isfinite(np.asarray(outputs)[1::2]).all()


def test_lyapunov_exponent_of_a_linear_cell_is_the_log_of_its_spectral_radius():
    inputs = inputs_of(2, 100)
    layer = RNN(SimpleCell(5, activation="identity"), engine="newton")
    variables = layer.init(jax.random.key(0), inputs)
    kernel = np.random.default_rng(0).standard_normal((5, 5)) * 0.3
    variables["params"]["cell"]["recurrent_kernel"] = jnp.asarray(kernel, jnp.float32)
    mask = np.arange(100)[None] < np.array([[100], [70]])
    _, _, verdict = run(layer, variables, inputs, mask, gradients=False)
    radius = np.abs(np.linalg.eigvals(kernel)).max()
    np.testing.assert_allclose(verdict["lyapunov_exponent"], np.log(radius), atol=0.03)
    assert (verdict["iterations"] == 1).all()


def loops(time):
    """Returns the numbers of loops and of all operations in the program of a gradient."""
    layer = RNN(SimpleCell(2), engine="newton")
    inputs = jnp.ones((2, time, INPUTS))
    variables = layer.init(jax.random.key(0), inputs)

    def loss(inputs):
        return jnp.sum(layer.apply(variables, inputs)[1])  # pyright: ignore

    text = str(jax.make_jaxpr(jax.grad(loss))(inputs))
    return text.count("while[") + text.count("scan["), len(text.splitlines())


def test_depth_of_the_program_grows_with_the_logarithm_of_time():
    (few, small), (middle, medium), (many, large) = (loops(time) for time in (16, 32, 64))
    assert few == middle == many
    assert 0 < large - medium < 1.2 * (medium - small) + 20


class CountingCell(Cell):
    """s' = tanh(x + s), and a count of its steps."""

    output_part: ClassVar[str | None] = "value"

    def initial_state(self, input_shape):
        """Returns zeros and a count of zero."""
        value = super().initial_state(input_shape)
        return {"value": value, "count": jnp.zeros(value.shape[:-1], jnp.int32)}

    def step(self, state, projected):
        """Returns the next state and its value."""
        value = jnp.tanh(projected + state["value"])
        return {"value": value, "count": state["count"] + 1}, value


@jax.custom_vjp
def backward_tanh(values):
    """Returns tanh, differentiable in reverse mode alone."""
    return jnp.tanh(values)


backward_tanh.defvjp(
    lambda values: (jnp.tanh(values), values), lambda values, grad: (grad / jnp.cosh(values) ** 2,)
)


class MixedParaGRU(ParaGRUCell):
    """Another cell, whose units read each other."""

    def step(self, state, projected):
        """Returns the step from the state of the next unit."""
        return super().step(jnp.roll(state, 1, axis=-1), projected)


def test_cells_without_a_smooth_step_are_refused():
    inputs = inputs_of(2, 5)
    expected = "the part 'count' of the state of CountingCell is an integer"
    with pytest.raises(InputError, match=expected):
        RNN(CountingCell(INPUTS), engine="newton").init(jax.random.key(0), inputs)
    assert expected in explain(RNN(CountingCell(INPUTS)), inputs).engines["newton"]
    backward = SimpleCell(2, activation=backward_tanh)
    layer = RNN(backward, engine="newton")
    variables = layer.init(jax.random.key(0), inputs)
    with pytest.raises(InputError, match=r"a step of SimpleCell is written by jax\.custom_vjp"):
        layer.apply(variables, inputs)
    assert "by jax.custom_vjp" in explain(RNN(backward), inputs).engines["newton"]
    assert explain(RNN(GRUCell(2)), inputs).engines["newton"] == "available"
    layer = RNN(GRUCell(FEATURES, update_dropout=0.4), engine="newton")
    variables = layer.init(jax.random.key(0), inputs)
    layer.apply(variables, inputs)
    with pytest.raises(InputError, match="a step of GRUCell draws random numbers in training"):
        layer.apply(variables, inputs, rngs={"dropout": jax.random.key(1)})


def test_structure_of_the_jacobian_is_inherited_only_with_the_step():
    assert jacobian_structure(ParaGRUCell(3)) == "blocks"
    assert jacobian_structure(MinGRUCell(3)) == "blocks"
    assert jacobian_structure(MixedParaGRU(3)) == "dense"
    assert jacobian_structure(LSTMCell(3)) == "dense"


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("max_iterations", 0),
        ("tolerance", 0.0),
        ("jacobian", "full"),
        ("damping", 1.0),
        ("unconverged", "warn"),
    ],
)
def test_options_out_of_range_raise(option, value):
    options: dict[str, Any] = {option: value}
    with pytest.raises(InputError, match=rf"Newton\.{option}: given {value!r}, expected"):
        Newton(**options)


def test_unroll_changes_the_loop_and_not_the_result():
    inputs = inputs_of(2, 7)
    layer = RNN(GRUCell(FEATURES), engine="scan")
    variables = layer.init(jax.random.key(0), inputs)
    unrolled = layer.clone(unroll=3)
    assert "unroll=3" in str(jax.make_jaxpr(unrolled.apply)(variables, inputs))
    assert_close(unrolled.apply(variables, inputs), layer.apply(variables, inputs), 1e-6)
    for wrong in (0, True, 2.0):
        with pytest.raises(InputError, match=f"unroll: given {wrong}, expected 1 or more steps"):
            layer.clone(unroll=wrong).init(jax.random.key(0), inputs)
