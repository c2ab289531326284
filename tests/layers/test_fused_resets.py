"""Fused engines of the classic cells equal the scan with resets, masks with holes and NaN."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.cells import GRUCell, LSTMCell, LSTMState, SimpleCell
from rnnjax.layers import RNN, rnn
from rnnjax.testing.harness import compiler_options

ROWS, TIME, INPUTS, FEATURES = 5, 9, 3, 4
RNG = np.random.default_rng(0)
INPUT = RNG.standard_normal((ROWS, TIME, INPUTS)).astype(np.float32)
MASK = RNG.random((ROWS, TIME)) < 0.7
MASK[3] = False
RESETS = RNG.random((ROWS, TIME)) < 0.4
RESETS[4] = False


class LearnedLSTM(LSTMCell):
    """An LSTM whose initial state is a parameter, which resets restore."""

    def setup(self):
        """Makes the parameters of the initial state as well."""
        super().setup()
        self.initial = self.param("initial", nn.initializers.normal(0.5), (2, self.features))

    def initial_state(self, input_shape):
        """Returns the parameters, once for each row."""
        shape = (*input_shape[:-1], self.features)
        return LSTMState(*(jnp.broadcast_to(part[None], shape) for part in self.initial))


class LearnedGRU(GRUCell):
    """A GRU whose initial state is a parameter."""

    def setup(self):
        """Makes the parameter of the initial state as well."""
        super().setup()
        self.initial = self.param("initial", nn.initializers.normal(0.5), (self.features,))

    def initial_state(self, input_shape):
        """Returns the parameter, once for each row."""
        return jnp.broadcast_to(self.initial[None], (*input_shape[:-1], self.features))


class LearnedSimple(SimpleCell):
    """A simple cell whose initial state is a parameter."""

    def setup(self):
        """Makes the parameter of the initial state as well."""
        super().setup()
        self.initial = self.param("initial", nn.initializers.normal(0.5), (self.features,))

    def initial_state(self, input_shape):
        """Returns the parameter, once for each row."""
        return jnp.broadcast_to(self.initial[None], (*input_shape[:-1], self.features))


def run_with_gradients(layer, inputs):
    """Returns the results of a layer and the gradients of parameters, inputs and state."""
    variables = layer.init(jax.random.key(0), inputs)
    state, _ = layer.apply(variables, inputs[:, ::-1])

    def run(variables, inputs, state):
        results, pull_back = jax.vjp(
            lambda *arrays: layer.apply(*arrays[:2], MASK, arrays[2], RESETS),
            variables,
            inputs,
            state,
        )
        return results, pull_back(jax.tree.map(lambda leaf: jnp.sin(7 + leaf), results))

    return jax.jit(run, compiler_options=compiler_options())(variables, inputs, state)


@pytest.mark.parametrize(
    ("cell", "reverse", "remat", "segments"),
    [
        (LearnedLSTM, False, False, False),
        (LearnedLSTM, True, True, False),
        (LearnedGRU, True, False, False),
        (LearnedGRU, False, False, True),
        (LearnedSimple, False, True, False),
        (LearnedSimple, True, False, True),
    ],
)
def test_fused_engine_with_resets_equals_scan(monkeypatch, cell, reverse, remat, segments):
    if segments:
        monkeypatch.setattr(rnn, "_CACHE_BYTES", 0)
        monkeypatch.setattr(rnn, "_SEGMENT_ROWS", ROWS)
    layer = RNN(cell(FEATURES), reverse, engine="fused", remat=remat)
    actual = run_with_gradients(layer, INPUT)
    expected = run_with_gradients(layer.clone(engine="scan", remat=False), INPUT)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), actual, expected
    )
    assert np.abs(actual[1][0]["params"]["cell"]["initial"]).max() > 1e-2


@pytest.mark.parametrize("cell", [LSTMCell, GRUCell, SimpleCell])
def test_nan_of_a_document_stays_in_it(cell):
    layer = RNN(cell(FEATURES), engine="fused")
    inputs = INPUT[:1]
    resets = np.isin(np.arange(TIME), [4, 6])[None]
    variables = layer.init(jax.random.key(0), inputs)

    def gradient(inputs):
        def loss(inputs):
            return (jnp.asarray(layer.apply(variables, inputs, None, None, resets)[1]) ** 2).sum()

        return np.asarray(jax.grad(loss)(inputs))

    broken = inputs.copy()
    broken[:, 4:6] = np.nan
    actual, intact = gradient(broken), gradient(inputs)
    assert np.isnan(actual[:, 4:6]).any()
    for part in (slice(4), slice(6, None)):
        np.testing.assert_allclose(actual[:, part], intact[:, part], atol=1e-6)
