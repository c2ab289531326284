"""Statistics of gates and units: saturation, time constants, dead and duplicate units."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.cells import AbstractCell, GRUCell, LSTMCell, MinGRUCell
from rnnjax.dynamics import trace_module, unit_statistics
from rnnjax.layers import RNN, Bidirectional


class FixedGateCell(AbstractCell):
    """Four units with constant forget gates; units 0 and 1 read the same, unit 3 nothing."""

    def initial_state(self, input_shape):
        """Returns zeros."""
        return jnp.zeros((*input_shape[:-1], 4))

    def step(self, state, projected):
        """Returns the leaky integral of the inputs."""
        forget = self.gate("forget gate", jnp.broadcast_to(FORGET, state.shape))
        self.gate("input gate", jnp.broadcast_to(jax.nn.sigmoid(projected[..., :1]), state.shape))
        read = projected[..., :1] * jnp.array([[1.0, -1.0, 1.0, 0.0]])
        new = forget * state + read
        return new, new


FORGET = jnp.array([[0.5, 0.5, 0.95, 0.05]])


def trace(mask=None):
    """Returns the trajectory of the cell on random numbers."""
    inputs = jnp.array(np.random.default_rng(0).standard_normal((4, 30, 1)), jnp.float32)
    if mask is not None:
        inputs, mask = jnp.concatenate([inputs, inputs * jnp.nan], axis=1), jnp.array(mask)
    return trace_module(RNN(FixedGateCell()), {}, inputs, mask)[0]


@pytest.mark.parametrize("mask", [None, np.repeat([[True, False]], 4, axis=0).repeat(30, axis=1)])
def test_units_are_described_whatever_the_padding(mask):
    statistics = unit_statistics(trace(mask))
    forget, entered = statistics.gates["forget gate"], statistics.gates["input gate"]
    np.testing.assert_allclose(forget.mean, FORGET[0], rtol=1e-6)
    assert forget.open.tolist() == [0, 0, 1, 0]
    assert forget.closed.tolist() == [0, 0, 0, 1]
    assert forget.still.all()
    assert not entered.still.any()
    np.testing.assert_allclose(
        statistics.time_constants, -1 / np.log(np.asarray(FORGET[0])), rtol=1e-4
    )
    assert statistics.dead == {"": [3]}
    assert statistics.duplicates == {"": [(0, 1)]}


@pytest.mark.parametrize(
    ("cell", "gate"),
    [
        (LSTMCell(3), "forget gate"),
        (GRUCell(3), "update gate (1 keeps)"),
        (MinGRUCell(3), "update gate"),
    ],
)
def test_time_constants_follow_the_gate_that_forgets(cell, gate):
    inputs = jnp.zeros((2, 5, 2))
    layer = Bidirectional(cell)
    variables = jax.eval_shape(layer.init, jax.random.key(0), inputs)
    variables = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), variables)  # gates of one half
    for trajectory in trace_module(layer, variables, inputs):
        statistics = unit_statistics(trajectory)
        assert gate in statistics.gates
        assert statistics.retention_gate == gate
        assert statistics.time_constants.shape == (3,)
        np.testing.assert_allclose(statistics.time_constants, 1 / math.log(2), rtol=1e-5)


def test_cells_without_gates_have_no_time_constants():
    from .closed_forms import LinearMap, run_cell

    statistics = unit_statistics(run_cell(LinearMap(), 5))
    assert (statistics.gates, statistics.retention_gate) == ({}, "")
    assert statistics.time_constants.size == 0
