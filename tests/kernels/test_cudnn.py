"""The engine 'cudnn', with JAX's own reference in the place of NVIDIA's library."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import rnn

from rnnjax.cells import LSTMCell
from rnnjax.errors import InputError
from rnnjax.kernels import cudnn
from rnnjax.layers import RNN

from .layer_gradients import INPUTS, jit_fast, random_like, require_close, run_with_gradients

ROWS, STEPS, FEATURES = 4, 5, 4


def parse_mask(*rows: str) -> np.ndarray:
    """Returns a mask from rows in which # is a real step."""
    return np.array([[step == "#" for step in row] for row in rows])


PADDED = parse_mask("#####", "###..", "#....", ".....")
HOLES = parse_mask("#####", "#.#..", "..###", ".....")


@pytest.fixture
def fake_cudnn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replaces cuDNN by the reference in JAX, which returns NaN if a row has no step."""

    def lstm(x, h_0, c_0, weights, lengths, inputs, features, layers, dropout, bidirectional):
        parts = rnn.unpack_lstm_weights(weights, inputs, features, layers, bidirectional)
        rest = lengths, inputs, features, layers, dropout, bidirectional
        results = rnn.lstm_ref(x, h_0, c_0, *parts, *rest)
        is_empty = (lengths < 1).any()
        return jax.tree.map(lambda leaf: jnp.where(is_empty, jnp.nan, leaf), results)

    monkeypatch.setattr(rnn, "lstm", lstm)
    monkeypatch.setattr(cudnn, "is_available", lambda: True)


@pytest.mark.usefixtures("fake_cudnn")
@pytest.mark.parametrize("mask", [None, PADDED, HOLES], ids=["no mask", "padded", "holes"])
@pytest.mark.parametrize("reverse", [False, True])
def test_cudnn_equals_scan(mask, reverse):
    layer = RNN(LSTMCell(FEATURES), reverse)
    actual, expected = (
        run_with_gradients(layer.clone(engine=engine), ROWS, STEPS, mask)
        for engine in ("cudnn", "scan")
    )
    require_close(actual, expected, 1e-5)


@pytest.mark.usefixtures("fake_cudnn")
def test_masks_with_holes_use_the_scan(monkeypatch):
    def lstm(x, h_0, c_0, *_):
        return jnp.full((*x.shape[:2], FEATURES), jnp.nan), h_0, c_0

    monkeypatch.setattr(rnn, "lstm", lstm)
    layer = RNN(LSTMCell(FEATURES), engine="cudnn")
    inputs = random_like(jax.ShapeDtypeStruct((ROWS, STEPS, INPUTS), jnp.float32), 1)
    variables = random_like(jax.eval_shape(layer.init, jax.random.key(0), inputs), 2)
    run = jax.jit(layer.apply)
    assert np.isnan(run(variables, inputs, PADDED)[1]).any()
    assert not np.isnan(run(variables, inputs, HOLES)[1]).any()


@pytest.mark.usefixtures("fake_cudnn")
@pytest.mark.parametrize(("mask", "reverse"), [(PADDED, True), (HOLES, False)])
def test_masked_values_do_not_affect_results(mask, reverse):
    result_shapes = [(ROWS, STEPS, INPUTS), (INPUTS, 16), (4, 16), (16,), (ROWS, 4), (ROWS, 4)]
    arrays: Any = random_like(
        [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in result_shapes], 1
    )
    weights, state = arrays[1:4], tuple(arrays[4:])

    @jit_fast
    def run(masked_value):
        inputs = jnp.where(mask[..., None], arrays[0], masked_value)

        def apply(inputs, weights, state):
            kernel, recurrent_kernel, bias = weights
            return cudnn.cudnn_lstm(inputs, kernel, recurrent_kernel, bias, state, mask, reverse)

        results, pull_back = jax.vjp(apply, inputs, weights, state)
        run_with_gradients = jnp.where(mask[..., None], 1.0, masked_value)
        return results, pull_back((results[0], run_with_gradients + jnp.zeros_like(results[1])))

    clean = run(0.0)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(clean))
    for masked_value in (1e30, jnp.nan):
        jax.tree.map(np.testing.assert_array_equal, run(masked_value), clean)


def result_shapes(cell: LSTMCell) -> Any:
    """Returns the shapes of the results of the engine, by abstract evaluation."""
    layer = RNN(cell, engine="cudnn")
    inputs = jax.ShapeDtypeStruct((ROWS, STEPS, INPUTS), jnp.float32)
    return jax.eval_shape(layer.init_with_output, jax.random.key(0), inputs)


@pytest.mark.skipif(jax.default_backend() == "gpu", reason="there is a GPU")
def test_missing_gpu_raises():
    with pytest.raises(InputError, match="a machine where JAX computes on a cpu, expected an NVID"):
        result_shapes(LSTMCell(FEATURES))


@pytest.mark.usefixtures("fake_cudnn", "implicit_promotion")
@pytest.mark.parametrize("field", ["dtype", "param_dtype"])
def test_unsupported_dtype_raises(field):
    with pytest.raises(InputError, match="in bfloat16, expected float32"):
        result_shapes(LSTMCell(FEATURES, **{field: jnp.bfloat16}))
