"""Recurrent dropout without memory loss, in every gated cell."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.cells import CELLS, GatedCell, MatrixCell, MGUCell, make_cell
from rnnjax.errors import InputError
from rnnjax.layers import RNN

ROWS, TIME, FEATURES, RATE = 3, 6, 4, 0.25
OPTIONS: dict[str, str] = {"ConvLSTMCell": "ConvLSTMCell(kernel_size=(2,))"}
GATED = [name for name, kind in CELLS.items() if issubclass(kind, GatedCell)]


def memory(state):
    """Returns the part of a state that the gates update."""
    return np.asarray(getattr(state, "cell", state))


@functools.cache
def trajectories(name: str) -> Any:
    """Returns a cell, parameters, inputs, and by key of dropout the state after 0, 1, ... steps."""
    cell: Any = make_cell(OPTIONS.get(name, name), FEATURES).clone(update_dropout=RATE)
    shape = (ROWS, TIME, 5, 3) if name == "ConvLSTMCell" else (ROWS, TIME, 3)
    rng = np.random.default_rng(0)
    inputs = rng.standard_normal(shape).astype(np.float32)
    layer = RNN(cell, engine="scan")
    shapes = jax.eval_shape(layer.init, jax.random.key(0), inputs)
    variables = jax.tree.map(
        lambda leaf: (0.6 * rng.standard_normal(leaf.shape)).astype(leaf.dtype), shapes
    )

    @jax.jit
    def call(steps, seed):
        mask = jnp.broadcast_to(jnp.arange(TIME) < steps, (ROWS, TIME))
        rngs = {"dropout": jax.random.key(seed)}
        return layer.apply(variables, inputs, mask, rngs=rngs)[0]

    states = {seed: [call(steps, seed) for steps in range(TIME + 1)] for seed in (5, 6)}
    return cell, {"params": variables["params"]["cell"]}, inputs, states


@pytest.mark.parametrize("name", GATED)
def test_dropout_scales_the_update_and_keeps_the_memory(name, monkeypatch):
    cell, variables, inputs, states = trajectories(name)

    def evaluate_steps():
        step = jax.jit(lambda state, inputs: cell.apply(variables, state, inputs)[0])
        return [memory(step(state, inputs[:, at])) for at, state in enumerate(states[5][:-1])]

    without_dropout = evaluate_steps()
    monkeypatch.setattr(GatedCell, "dropped", lambda cell, candidate: jnp.zeros_like(candidate))
    all_dropped = evaluate_steps()
    factors = []
    for at, (old, new) in enumerate(zip(states[5][:-1], states[5][1:], strict=True)):
        factors.append((memory(new) - all_dropped[at]) / (without_dropout[at] - all_dropped[at]))
        nonzero = memory(old) != 0  # not before the first unit was let in
        share = all_dropped[at][nonzero] / memory(old)[nonzero]
        assert (share > 0).all()
        assert (share <= 1).all()
    dropped = np.abs(np.array(factors)) < 0.01
    np.testing.assert_allclose(np.array(factors)[~dropped], 1 / (1 - RATE), atol=0.02)
    assert 0.1 < dropped.mean() < 0.4
    # Fresh at each step, and in each row.
    assert not (dropped == dropped[:1]).all()
    assert not (dropped == dropped[:, :1]).all()
    assert not np.array_equal(memory(states[6][-1]), memory(states[5][-1]))


def test_gated_cells_have_update_dropout():
    ungated = {"SimpleCell", "RHNCell", "IndRNNCell", "AntisymmetricCell", "CoRNNCell", "SRUCell"}
    ungated |= {"QRNNCell", "MinGRUCell", "MinLSTMCell", "LRUCell", "RGLRUCell", "EchoStateCell"}
    ungated |= {"LEMCell", "UnICORNNCell", "S5Cell", "MambaCell", "LTCCell", "CfCCell"}
    ungated |= {"LinOSSCell", "RWKV7Cell"}
    ungated |= {name for name, kind in CELLS.items() if issubclass(kind, MatrixCell)}
    assert set(GATED) == set(CELLS) - ungated


@pytest.mark.parametrize("rate", [1.0, -0.1, "0.1"])
def test_invalid_rate_raises(rate):
    with pytest.raises(InputError, match=f"update_dropout: given {rate!r}"):
        MGUCell(FEATURES, update_dropout=rate)
