"""Programs of JAX's operations against JAX: every cell, and operations one by one."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.export import symbolic_shape

from interpreter import Program, evaluate_size
from rnnjax.cells import make_cell
from rnnjax.cells.registry import CELLS
from rnnjax.errors import InputError
from rnnjax.exporting.tracing import Tracer
from rnnjax.layers import RNN

BATCH, TIME = 3, 4


def run(function, *arrays):
    """Returns the outputs of a function of arrays [batch, time, ...], computed by NumPy."""
    leading = symbolic_shape("b, t")
    shapes = [jax.ShapeDtypeStruct((*leading, *array.shape[2:]), array.dtype) for array in arrays]
    tracer = Tracer()
    body = json.loads(json.dumps(tracer.trace(function, *shapes)))
    sizes = {"b": arrays[0].shape[0], "t": arrays[0].shape[1]}
    return Program(body, tracer.tensors, sizes)(*arrays)


@pytest.mark.parametrize("spec", [*CELLS, "flax.linen:GRUCell"])
def test_every_cell_computes_what_jax_does(spec):
    shape = (5, 6, 2) if spec == "ConvLSTMCell" else (7,)
    layer = RNN(make_cell(spec, 8), reverse=spec == "LSTMCell")
    generator = np.random.default_rng(0)
    inputs = generator.standard_normal((BATCH, TIME, *shape), np.float32)
    mask = np.arange(TIME) < np.array([[4], [0], [2]])
    shapes = jax.eval_shape(layer.init, jax.random.key(1), inputs, mask)
    variables = jax.tree.map(
        lambda leaf: 0.5 * generator.standard_normal(leaf.shape, np.float32), shapes
    )

    def apply(inputs, mask):
        return jax.tree.leaves(layer.apply(variables, inputs, mask))

    expected = jax.jit(apply)(inputs, mask)
    for actual, array in zip(run(apply, inputs, mask), expected, strict=True):
        assert actual.dtype == array.dtype
        assert np.isfinite(array).all()
        np.testing.assert_allclose(actual, array, rtol=1e-5, atol=1e-5)


def numbers(*shape):
    return np.random.default_rng(0).standard_normal(shape, np.float32)


OPERATIONS = {
    "loops": lambda x: [
        jax.lax.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, c[1] * 0.5), (0, x))[1],
        jax.lax.fori_loop(0, x.shape[1], lambda n, y: y.at[:, n].add(1.0), x),
        jax.lax.cond(x[0, 0] > 0, lambda y: y + 1, lambda y: y * 2, x),
        *jax.lax.scan(lambda c, y: (c + y, c * y), x[:, 0], x.swapaxes(0, 1), reverse=True),
    ],
    "order": lambda x: [
        *jax.lax.top_k(jnp.abs(jnp.round(x)), 3),
        jnp.sort(x, axis=0),
        jnp.argsort(x, axis=1),
        jnp.argmin(x, axis=1),
        jax.lax.cumsum(x, axis=1, reverse=True),
        jax.lax.cummax(x, axis=0),
        jax.lax.cumlogsumexp(x, axis=1),
    ],
    "positions": lambda x: [
        jnp.take(x, jnp.array([[1, 9], [-1, 0]]), axis=1),
        jnp.take_along_axis(x, jnp.argsort(x, axis=1), axis=1),
        x[:, ::-1][1:, jnp.array([2, 0])],
        x.at[jnp.array([0, 2, 7]), 1].set(5.0, mode="drop"),
        x.at[:, jnp.array([1, 1])].add(2.0),
        jax.lax.dynamic_slice(x, (2, 1), (2, 2)),
        jax.lax.dynamic_update_slice(x, jnp.ones((2, 2)), (5, 2)),
        jax.lax.pad(x, 7.0, [(1, -1, 0), (-1, 2, 1)]),
    ],
    "products": lambda x: [
        jnp.einsum("bi,bj->bij", x, x),
        jnp.einsum("bij,bkj->bki", x[:, None] * x[..., None], x[:, None] + x[..., None]),
        jax.scipy.linalg.solve_triangular(4 * jnp.eye(4) + x[:1] * x[:1].T, x.T, lower=True),
        jax.lax.conv_general_dilated(
            x[:, None], x[:2, None, :2], (2,), [(1, 2)], (1,), (2,), feature_group_count=1
        ),
    ],
    "numbers": lambda x: [
        x.astype(jnp.int32) // 2,
        jax.lax.div(x.astype(jnp.int32) * 7, jnp.full_like(x, -2, jnp.int32)),
        jax.lax.rem(x.astype(jnp.int32) * 7, jnp.full_like(x, 3, jnp.int32)),
        jax.lax.erf(x),
        jax.nn.gelu(x),
        jax.nn.softplus(x),
        jax.lax.clamp(-0.5, x, 0.5),
        jnp.mod(x, 0.7),
        jnp.where(x > 0, x, -jnp.inf).max(axis=1),
    ],
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_compute_what_jax_does(name):
    values = numbers(3, 4)
    function = OPERATIONS[name]
    body, tensors = trace(function, values)
    expected = jax.jit(function)(values)
    for number, (actual, array) in enumerate(
        zip(Program(body, tensors, {})(values), expected, strict=True)
    ):
        assert actual.dtype == array.dtype, number
        np.testing.assert_allclose(actual, array, rtol=1e-5, atol=1e-5, err_msg=str(number))


def trace(function, *arrays):
    """Returns a program for arrays of these shapes, and its tensors."""
    tracer = Tracer()
    return json.loads(json.dumps(tracer.trace(function, *arrays))), tracer.tensors


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (lambda x: [jax.lax.reduce_precision(x, 8, 7)], "the operation 'reduce_precision'"),
        (lambda x: [jax.random.bits(jax.random.key(0), x.shape)], "'random_bits'"),
        (lambda x: [x.astype(jnp.bfloat16)], "type bfloat16"),
        (lambda x: jax.lax.scan(lambda c, y: (jnp.fft.fft(c).real, y), x, x), "'fft'"),
    ],
)
def test_unknown_operation_is_refused_by_its_name(function, name):
    with pytest.raises(InputError, match=name):
        trace(function, numbers(4))


def test_operations_without_effect_are_left_out():
    body, _ = trace(lambda x: [x + 1, jax.random.key(0)][:1], numbers(4))
    assert [name for name, *_ in body["equations"]] == ["add"]


@pytest.mark.parametrize(
    ("expression", "value"),
    [("2*b*t + -1", 23), ("floordiv(t, 3)", 1), ("mod(t, 3)", 1), ("max(b, t**2)", 16)],
)
def test_sizes_are_evaluated(expression, value):
    assert evaluate_size(expression, {"b": 3, "t": 4}) == value


def test_size_that_is_code_is_refused():
    with pytest.raises(ValueError, match="cannot be read"):
        evaluate_size("__import__('os').getcwd()", {})
