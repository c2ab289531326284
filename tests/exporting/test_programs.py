"""Programs of JAX's operations against JAX: every cell, and operations one by one."""

import json

import jax
import numpy as np
import pytest
from jax.export import symbolic_shape

from interpreter import Program
from rnnjax.cells import make_cell
from rnnjax.cells.registry import CELLS
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
