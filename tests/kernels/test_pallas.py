"""The GPU kernels, interpreted: sizes, limits, and lowering for CUDA.

The conformance kit holds them to the mask rule, in float64 to finite differences, and to bfloat16.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.cells import GRUCell, LSTMCell
from rnnjax.errors import InputError
from rnnjax.layers import RNN

from .layer_gradients import INPUTS, jit_fast, random_like, require_close, run_with_gradients

pytestmark = pytest.mark.usefixtures("implicit_promotion")
"""The kernels add bfloat16 inputs to float32 sums."""

CELLS = (LSTMCell, GRUCell)
HOLES = np.random.default_rng(0).random((17, 3)) > 0.3


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(
    ("rows", "steps", "features", "mask"),
    [(17, 3, 20, HOLES), (16, 2, 16, None)],
    ids=["more than one tile", "a full tile"],
)
@pytest.mark.parametrize("reverse", [False, True])
def test_kernel_equals_scan_at_any_size(cell, rows, steps, features, mask, reverse):
    layer = RNN(cell(features), reverse)
    actual, expected = (
        run_with_gradients(layer.clone(engine=engine), rows, steps, mask)
        for engine in ("pallas", "scan")
    )
    require_close(actual, expected, 1e-5)


@pytest.mark.parametrize("cell", CELLS)
def test_bfloat16_states(cell):
    layer = RNN(cell(4, dtype=jnp.bfloat16, param_dtype=jnp.bfloat16))
    actual, expected = (
        run_with_gradients(layer.clone(engine=engine), 3, 4, None) for engine in ("pallas", "scan")
    )
    require_close(actual, expected, 0.05)


def lower_for_cuda(layer: RNN, differentiated: bool) -> str:
    """Returns the program of a layer for a CUDA machine, on any."""
    inputs = jax.ShapeDtypeStruct((17, 3, INPUTS), jnp.float32)
    mask = jax.ShapeDtypeStruct((17, 3), jnp.bool_)
    variables = jax.eval_shape(layer.init, jax.random.key(0), inputs)

    def loss(variables, inputs, mask):
        final, outputs = layer.apply(variables, inputs, mask)
        return sum(leaf.astype(jnp.float32).sum() for leaf in jax.tree.leaves((final, outputs)))

    function = jax.grad(loss) if differentiated else loss
    traced = jax.jit(function).trace(variables, inputs, mask)
    try:
        return traced.lower(lowering_platforms=("cuda",)).as_text()
    except RuntimeError as error:  # After 0.10.2 jaxlib compiles while it lowers.
        if "compilation handler" not in str(error):
            raise
        pytest.skip("this jaxlib has no compiler for CUDA")


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("reverse", [False, True])
def test_number_of_kernel_launches(cell, dtype, reverse):
    layer = RNN(cell(33, dtype=dtype), reverse, engine="pallas")
    for differentiated, launches in ((False, 1), (True, 2)):
        text = lower_for_cuda(layer, differentiated)
        assert text.count("xla.gpu.triton") + text.count("triton_kernel_call") == launches
        assert "stablehlo.while" not in text


@pytest.mark.parametrize("cell", CELLS)
def test_auto_does_not_select_pallas(cell):
    inputs = jnp.ones((2, 3, INPUTS))

    def program(engine):
        return str(jax.make_jaxpr(RNN(cell(4), engine=engine).init)(jax.random.key(0), inputs))

    assert "pallas_call" in program("pallas")
    assert "pallas_call" not in program("auto")


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(("dtype", "limit"), [(jnp.float32, 64), (jnp.bfloat16, 128)])
def test_too_many_features_raise(cell, dtype, limit):
    inputs = jax.ShapeDtypeStruct((2, 3, INPUTS), jnp.float32)

    def shapes(features):
        layer = RNN(cell(features, dtype=dtype), engine="pallas")
        return jax.eval_shape(layer.init_with_output, jax.random.key(0), inputs)[0][1].shape

    assert shapes(limit) == (2, 3, limit)
    with pytest.raises(InputError, match=f"{limit + 1} features in .*, expected at most {limit}"):
        shapes(limit + 1)


@pytest.mark.parametrize("cell", CELLS)
def test_vmap_over_layers(cell):
    layer = RNN(cell(4), engine="pallas")
    inputs = random_like(jax.ShapeDtypeStruct((2, 3, 4, INPUTS), jnp.float32), 1)
    shapes = jax.eval_shape(jax.vmap(layer.init), jax.random.split(jax.random.key(0)), inputs)
    variables = random_like(shapes, 2)

    def loss(variables, inputs):
        outputs: Any = layer.apply(variables, inputs)[1]
        return (outputs**2).sum()

    gradient = jax.grad(loss)

    actual = jit_fast(jax.vmap(gradient))(variables, inputs)
    for seed in range(2):
        variables_of_layer = jax.tree.map(lambda leaf, seed=seed: leaf[seed], variables)
        gradients_of_layer = jax.tree.map(lambda leaf, seed=seed: leaf[seed], actual)
        require_close(
            gradients_of_layer, jit_fast(gradient)(variables_of_layer, inputs[seed]), 1e-5
        )
