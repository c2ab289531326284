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

from .runs import INPUTS, cotangents, drawn, fast, require_close

ROWS, STEPS, FEATURES = 4, 5, 4


def mask(*rows: str) -> np.ndarray:
    """Returns a mask from rows in which # is a real step."""
    return np.array([[step == "#" for step in row] for row in rows])


PADDED = mask("#####", "###..", "#....", ".....")
HOLES = mask("#####", "#.#..", "..###", ".....")


@pytest.fixture
def reference(monkeypatch: pytest.MonkeyPatch) -> None:
    """JAX's reference computes what cuDNN would, which knows no row without a step."""

    def lstm(x, h_0, c_0, weights, lengths, inputs, features, layers, dropout, bidirectional):
        parts = rnn.unpack_lstm_weights(weights, inputs, features, layers, bidirectional)
        rest = lengths, inputs, features, layers, dropout, bidirectional
        results = rnn.lstm_ref(x, h_0, c_0, *parts, *rest)
        none = (lengths < 1).any()
        return jax.tree.map(lambda leaf: jnp.where(none, jnp.nan, leaf), results)

    monkeypatch.setattr(rnn, "lstm", lstm)
    monkeypatch.setattr(cudnn, "available", lambda: True)


@pytest.mark.usefixtures("reference")
@pytest.mark.parametrize("real", [None, PADDED, HOLES], ids=["no mask", "padded", "holes"])
@pytest.mark.parametrize("reverse", [False, True])
def test_it_is_the_scan(real, reverse):
    layer = RNN(LSTMCell(FEATURES), reverse)
    found, expected = (
        cotangents(layer.clone(engine=engine), ROWS, STEPS, real) for engine in ("cudnn", "scan")
    )
    require_close(found, expected, 1e-5)


@pytest.mark.usefixtures("reference")
def test_it_is_asked_only_what_it_can(monkeypatch):
    def lstm(x, h_0, c_0, *_):
        return jnp.full((*x.shape[:2], FEATURES), jnp.nan), h_0, c_0

    monkeypatch.setattr(rnn, "lstm", lstm)
    layer = RNN(LSTMCell(FEATURES), engine="cudnn")
    inputs = drawn(jax.ShapeDtypeStruct((ROWS, STEPS, INPUTS), jnp.float32), 1)
    variables = drawn(jax.eval_shape(layer.init, jax.random.key(0), inputs), 2)
    run = jax.jit(layer.apply)
    assert np.isnan(run(variables, inputs, PADDED)[1]).any()
    assert not np.isnan(run(variables, inputs, HOLES)[1]).any()


@pytest.mark.usefixtures("reference")
@pytest.mark.parametrize(("real", "reverse"), [(PADDED, True), (HOLES, False)])
def test_nothing_at_masked_steps_reaches_a_result(real, reverse):
    shapes = [(ROWS, STEPS, INPUTS), (INPUTS, 16), (4, 16), (16,), (ROWS, 4), (ROWS, 4)]
    given: Any = drawn([jax.ShapeDtypeStruct(each, jnp.float32) for each in shapes], 1)
    weights, state = given[1:4], tuple(given[4:])

    @fast
    def run(junk):
        inputs = jnp.where(real[..., None], given[0], junk)

        def apply(inputs, weights, state):
            kernel, recurrent_kernel, bias = weights
            return cudnn.cudnn_lstm(inputs, kernel, recurrent_kernel, bias, state, real, reverse)

        results, pull_back = jax.vjp(apply, inputs, weights, state)
        cotangents = jnp.where(real[..., None], 1.0, junk)
        return results, pull_back((results[0], cotangents + jnp.zeros_like(results[1])))

    clean = run(0.0)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(clean))
    for junk in (1e30, jnp.nan):
        jax.tree.map(np.testing.assert_array_equal, run(junk), clean)


def shapes(cell: LSTMCell) -> Any:
    """Returns the shapes of what the engine gives, which takes no work."""
    layer = RNN(cell, engine="cudnn")
    inputs = jax.ShapeDtypeStruct((ROWS, STEPS, INPUTS), jnp.float32)
    return jax.eval_shape(layer.init_with_output, jax.random.key(0), inputs)


@pytest.mark.skipif(jax.default_backend() == "gpu", reason="there is a GPU")
def test_without_a_gpu_it_is_refused():
    with pytest.raises(InputError, match="a machine where JAX computes on a cpu, expected an NVID"):
        shapes(LSTMCell(FEATURES))


@pytest.mark.usefixtures("reference")
@pytest.mark.parametrize("field", ["dtype", "param_dtype"])
def test_another_dtype_is_refused(field):
    with pytest.raises(InputError, match="in bfloat16, expected float32"):
        shapes(LSTMCell(FEATURES, **{field: jnp.bfloat16}))
