"""Several documents in a row: a reset is a fresh start, and no gradient crosses it."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.cells import (
    LRUCell,
    LSTMCell,
    MinGRUCell,
    MinLSTMCell,
    RGLRUCell,
    SimpleCell,
)
from rnnjax.errors import InputError
from rnnjax.layers import RNN, Bidirectional, Stack, temporal_activation_regularization

TIME, INPUTS, FEATURES = 9, 3, 4
LENGTHS = (4, 2, 3)
STARTS = np.array([0, 4, 6])
INPUT = np.random.default_rng(0).standard_normal((1, TIME, INPUTS)).astype(np.float32)
RESETS = np.isin(np.arange(TIME), STARTS)[None]
LAYERS = {
    "forward": lambda: RNN(LSTMCell(FEATURES)),
    "reverse": lambda: RNN(LSTMCell(FEATURES), reverse=True),
    "fused": lambda: RNN(MinGRUCell(FEATURES), engine="fused"),
    "fused, reverse": lambda: RNN(MinLSTMCell(FEATURES), reverse=True, engine="fused"),
    "fused, remat": lambda: RNN(MinGRUCell(FEATURES), engine="fused", remat=True),
    "associative": lambda: RNN(LRUCell(FEATURES), engine="associative"),
    "associative, reverse": lambda: RNN(RGLRUCell(FEATURES), reverse=True, engine="associative"),
    "flax": lambda: RNN(nn.GRUCell(FEATURES)),
    "bidirectional": lambda: Bidirectional(SimpleCell(FEATURES)),
    "stack": lambda: Stack([Bidirectional(LSTMCell(FEATURES)), RNN(LSTMCell(FEATURES))]),
}


def apply_outputs(layer, variables, inputs, *arguments):
    return layer.apply(variables, inputs, *arguments)[1]


@pytest.mark.parametrize("name", LAYERS)
def test_packed_documents_equal_separate_rows(name):
    layer = LAYERS[name]()
    variables = layer.init(jax.random.key(0), INPUT)
    packed = apply_outputs(layer, variables, INPUT, None, None, RESETS)
    expected = np.concatenate(
        [
            apply_outputs(layer, variables, document)
            for document in np.split(INPUT, STARTS[1:], axis=1)
        ],
        axis=1,
    )
    np.testing.assert_allclose(packed, expected, atol=1e-6)
    assert not np.allclose(packed, apply_outputs(layer, variables, INPUT), atol=1e-3)


@pytest.mark.parametrize("name", LAYERS)
def test_no_gradient_crosses_a_reset(name):
    layer = LAYERS[name]()
    variables = layer.init(jax.random.key(0), INPUT)

    def loss(inputs):
        return (apply_outputs(layer, variables, inputs, None, None, RESETS)[:, 4:6] ** 2).sum()

    gradient = np.asarray(jax.jit(jax.grad(loss))(INPUT))
    assert (gradient[:, :4] == 0).all()
    assert (gradient[:, 6:] == 0).all()
    assert (gradient[:, 4:6] != 0).all()


@pytest.mark.parametrize("name", list(LAYERS)[:7])
def test_masked_steps_between_documents_change_nothing(name):
    layer = LAYERS[name]()
    variables = layer.init(jax.random.key(0), INPUT)
    dense = np.asarray(apply_outputs(layer, variables, INPUT, None, None, RESETS))
    # Two masked steps before the second document, which begins at the first of them.
    inputs = np.insert(INPUT, [4, 4], np.nan, axis=1)
    mask = np.isin(np.arange(TIME + 2), [4, 5], invert=True)[None]
    resets = np.isin(np.arange(TIME + 2), [0, 4, 8])[None]
    outputs = np.asarray(apply_outputs(layer, variables, inputs, mask, None, resets))
    np.testing.assert_allclose(outputs[mask], dense[0], atol=1e-6)


@pytest.mark.parametrize("engine", ["scan", "fused", "associative"])
def test_nan_of_a_document_stays_in_it(engine):
    layer = RNN(MinGRUCell(FEATURES), engine=engine)
    variables = layer.init(jax.random.key(0), INPUT)
    broken = INPUT.copy()
    broken[:, 4:6] = np.nan

    def gradient(inputs):
        def loss(inputs):
            outputs = jnp.asarray(apply_outputs(layer, variables, inputs, None, None, RESETS))
            return (outputs**2).sum()

        return np.asarray(jax.grad(loss)(inputs))

    outputs, expected = (
        np.asarray(apply_outputs(layer, variables, inputs, None, None, RESETS))
        for inputs in (broken, INPUT)
    )
    for actual, intact in ((outputs, expected), (gradient(broken), gradient(INPUT))):
        assert np.isnan(actual[:, 4:6]).any()
        np.testing.assert_allclose(
            np.delete(actual, [4, 5], axis=1), np.delete(intact, [4, 5], axis=1), atol=1e-6
        )


def test_initial_state_affects_only_the_first_document():
    layer = RNN(SimpleCell(FEATURES))
    variables = layer.init(jax.random.key(0), INPUT)
    resets = RESETS & (np.arange(TIME) > 0)
    state = np.ones((1, FEATURES), np.float32)
    plain = np.asarray(apply_outputs(layer, variables, INPUT, None, None, resets))
    with_state = np.asarray(apply_outputs(layer, variables, INPUT, None, state, resets))
    assert (plain[:, :4] != with_state[:, :4]).all()
    np.testing.assert_array_equal(plain[:, 4:], with_state[:, 4:])


def test_changes_between_documents_are_not_penalised():
    mask = jnp.array([[True, True, False, True, True, False, True, True, True]])
    # The second document begins at a masked step, the third at a real one.
    resets = jnp.isin(jnp.arange(TIME), jnp.array([0, 2, 7]))[None]
    outputs = jnp.asarray(INPUT)
    documents = [INPUT[0, [0, 1]], INPUT[0, [3, 4, 6]], INPUT[0, [7, 8]]]
    changes = np.concatenate([np.diff(document, axis=0) for document in documents])
    penalty = temporal_activation_regularization(
        jnp.where(mask[..., None], INPUT, jnp.nan), mask, resets
    )
    np.testing.assert_allclose(penalty, (changes**2).mean(), rtol=1e-6)
    assert abs(penalty - temporal_activation_regularization(outputs, mask)) > 1e-3
    with pytest.raises(InputError, match=r"resets: given int32\[1, 9\], expected bool\[1, 9\]"):
        temporal_activation_regularization(outputs, mask, resets.astype(jnp.int32))


def test_invalid_resets_raise():
    layer = RNN(LSTMCell(FEATURES))
    with pytest.raises(InputError, match="resets has the dtype int32"):
        layer.init(jax.random.key(0), INPUT, None, None, RESETS.astype(np.int32))
    with pytest.raises(InputError, match="has scan, fused with resets"):
        RNN(LSTMCell(FEATURES), engine="pallas").init(jax.random.key(0), INPUT, None, None, RESETS)
