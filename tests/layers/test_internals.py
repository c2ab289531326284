"""Looking inside a layer and streaming it: neither changes what a layer gives, for every cell."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.cells import (
    CELLS,
    AbstractCell,
    GRUCell,
    LSTMCell,
    MinGRUCell,
    RecurrentDropout,
    SimpleCell,
    Zoneout,
    make_cell,
)
from rnnjax.cells.base import INTERNALS
from rnnjax.layers import RNN, Bidirectional, Stack, WeightDrop

ROWS, TIME, INPUTS, FEATURES = 3, 6, 3, 4
INPUT = np.random.default_rng(0).standard_normal((ROWS, TIME, INPUTS)).astype(np.float32)
MASK = np.array([[step == "#" for step in row] for row in ("######", "##....", ".#.##.")])
INPUT[~MASK] = np.nan

LSTM = {"forget gate", "input gate", "output gate"}
GRU = {"reset gate", "update gate (1 keeps)"}
GATES: dict[str, set[str]] = {
    "SimpleCell": set(),
    "LSTMCell": LSTM,
    "LSTMCell(peepholes=True, coupled=True, projection=3)": LSTM,
    "GRUCell": GRU,
    "GRUCell(reset_after=False)": GRU,
    "MGUCell": {"forget gate"},
    "MGUCell(reset='before', f_keeps=False)": {"update gate"},
    "JANETCell": {"forget gate", "input gate"},
    "LayerNormLSTMCell": LSTM,
    "LayerNormGRUCell": GRU,
    "MultiplicativeLSTMCell": LSTM,
    "RHNCell": {"transform gate 1", "transform gate 2", "transform gate 3"},
    "SLSTMCell": {"forget gate (stabilized)", "input gate (stabilized)", "output gate"},
    "IndRNNCell": set(),
    "AntisymmetricCell": set(),
    "AntisymmetricCell(gated=True)": {"update gate"},
    "CoRNNCell": set(),
    "FastGRNNCell": {"update gate (1 keeps)"},
    "SRUCell": {"forget gate", "reset gate (1 shows the state)"},
    "QRNNCell": {"forget gate", "output gate"},
    "QRNNCell(pooling='ifo', window=1)": LSTM,
    "MinGRUCell": {"update gate"},
    "MinLSTMCell": {"forget gate", "input gate"},
    "LRUCell": set(),
    "RGLRUCell": {"recurrence gate", "input gate"},
    "EchoStateCell": set(),
    "flax.linen:LSTMCell": set(),
}
"""The gates that a cell names."""


def parameters(layer, seed=1):
    """Returns random parameters for a layer, biases included."""
    shapes = jax.eval_shape(layer.init, jax.random.key(0), INPUT)
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda leaf: 0.7 * rng.standard_normal(leaf.shape).astype(leaf.dtype), shapes
    )


def looking(layer):
    """Returns a function that returns what the layer returns, and what it shows of its steps."""

    @jax.jit
    def look(variables, inputs=INPUT, mask=MASK, states=None):
        given, shown = layer.apply(variables, inputs, mask, states, mutable=INTERNALS)
        return given, shown[INTERNALS]

    return look


def gates(shown):
    """Returns the gates of a layer by their names."""
    leaves = jax.tree_util.tree_leaves_with_path(shown.get("cell", {}))
    return {jax.tree_util.keystr(path[-1:], simple=True): values for path, values in leaves}


def close(found, expected):
    """Fails unless two trees hold the same, within rounding."""
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-6), found, expected)


def test_every_cell_that_reads_vectors_is_looked_at():
    assert {name.split("(")[0] for name in GATES} - {"flax.linen:LSTMCell"} == set(CELLS) - {
        "ConvLSTMCell"
    }


@pytest.mark.parametrize("spec", GATES)
def test_a_stack_shows_its_gates_and_is_streamed_a_step_at_a_time(spec):
    stack = Stack([RNN(make_cell(spec, FEATURES)), RNN(make_cell(spec, FEATURES))])
    variables = parameters(stack)
    assert set(variables) == {"params"}
    finals, outputs = jax.jit(stack.apply)(variables, INPUT, MASK)
    look = looking(stack)
    found, shown = look(variables)
    close(found, (finals, outputs))

    # Masked steps alone give the states in which the layers begin.
    (states, _), _ = look(variables, INPUT, np.zeros_like(MASK))
    for step in range(TIME):
        at = np.s_[:, step : step + 1]
        (states, output), inside = look(variables, INPUT[at], MASK[at], states)
        close(output, outputs[at])
        close(inside, jax.tree.map(lambda values, at=at: values[at], shown))
        for final, each in zip(states, ("layers_0", "layers_1"), strict=True):
            close(final, jax.tree.map(lambda values: values[:, 0], inside[each]["state"]))
    close(states, finals)

    for layer in ("layers_0", "layers_1"):
        named = gates(shown[layer])
        assert set(named) == GATES[spec]
        for values in named.values():
            assert values.shape == (ROWS, TIME, FEATURES)
            assert ((values >= 0) & (values <= 1)).all()
            real = np.asarray(values)[MASK]
            assert real.std(axis=0).max() > 1e-3


@pytest.mark.parametrize("spec", [spec for spec in GATES if GATES[spec]])
def test_a_gate_that_nobody_asks_for_costs_nothing(spec, monkeypatch):
    layer = RNN(make_cell(spec, FEATURES))
    variables = parameters(layer)
    with_gates = str(jax.make_jaxpr(layer.apply)(variables, INPUT, MASK))
    monkeypatch.setattr(AbstractCell, "gate", lambda self, name, values: values)
    assert str(jax.make_jaxpr(layer.apply)(variables, INPUT, MASK)) == with_gates


def test_the_gates_of_an_lstm_are_those_of_its_equations():
    layer = RNN(LSTMCell(FEATURES))
    variables = parameters(layer)
    _, shown = looking(layer)(variables, np.nan_to_num(INPUT), np.ones_like(MASK))
    params = variables["params"]["cell"]
    hidden = np.asarray(shown["state"].hidden)
    before = np.pad(hidden[:, :-1], ((0, 0), (1, 0), (0, 0)))
    units = np.nan_to_num(INPUT) @ params["input"]["kernel"] + params["input"]["bias"]
    units = units + before @ params["recurrent_kernel"]
    i, f, _, o = np.split(1 / (1 + np.exp(-units)), 4, axis=-1)
    for name, expected in (("input gate", i), ("forget gate", f), ("output gate", o)):
        np.testing.assert_allclose(gates(shown)[name], expected, atol=1e-5)


def test_an_update_gate_that_keeps_keeps_and_one_that_lets_in_lets_in():
    for cell, name, keeps in (
        (GRUCell(FEATURES), "update gate (1 keeps)", 1),
        (MinGRUCell(FEATURES), "update gate", 0),
    ):
        layer = RNN(cell)
        _, shown = looking(layer)(parameters(layer), np.full_like(INPUT, 200.0), None)
        gate, state = np.asarray(gates(shown)[name]), np.asarray(shown["state"])
        kept = np.abs(np.diff(state, axis=1)) < 1e-3
        shut = np.abs(gate - keeps) < 1e-6
        assert shut.any()
        assert kept[shut[:, 1:]].all()


@pytest.mark.parametrize("reverse", [False, True])
def test_the_state_is_shown_after_each_step_and_held_where_masked(reverse):
    layer = RNN(GRUCell(FEATURES), reverse=reverse, return_sequences=False)
    (final, _), shown = looking(layer)(parameters(layer))
    states = np.asarray(shown["state"])
    np.testing.assert_array_equal(final, states[:, 0 if reverse else -1])
    moved = np.diff(states[:, ::-1] if reverse else states, axis=1).any(axis=-1)
    counts = MASK[:, ::-1] if reverse else MASK
    np.testing.assert_array_equal(moved, counts[:, 1:])


@pytest.mark.parametrize(
    "layer",
    [
        RNN(GRUCell(FEATURES), engine="fused"),
        RNN(GRUCell(FEATURES), remat=True),
        RNN(MinGRUCell(FEATURES), engine="associative"),
        WeightDrop(RNN(GRUCell(FEATURES)), 0.5),
        RNN(Zoneout(RecurrentDropout(GRUCell(FEATURES), 0.3), 0.2)),
    ],
    ids=["fused", "remat", "associative", "weights dropped", "wrapped"],
)
def test_whatever_runs_a_layer_it_shows_its_gates(layer):
    variables = parameters(layer)
    found, shown = looking(layer)(variables)
    close(found, jax.jit(layer.apply)(variables, INPUT, MASK))
    shown = shown.get("layer", shown)
    assert all(values.shape == (ROWS, TIME, FEATURES) for values in gates(shown).values())
    assert gates(shown)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(shown))


def test_both_directions_show_theirs():
    layer = Bidirectional(LSTMCell(FEATURES))
    variables = parameters(layer)
    _, shown = looking(layer)(variables)
    assert set(shown) == {"forward", "backward"}
    single = RNN(LSTMCell(FEATURES), reverse=True)
    _, alone = looking(single)({"params": variables["params"]["backward"]})
    close(shown["backward"], alone)


def test_making_parameters_shows_nothing_and_a_cell_of_ones_own_is_shown():
    class Own(SimpleCell):
        def step(self, state, projected):
            half = self.gate("half gate", jnp.full_like(state, 0.5))
            new, _ = super().step(state, projected)
            new = half * new
            return new, new

    layer = nn.Sequential([RNN(Own(FEATURES))])
    variables = layer.init(jax.random.key(0), INPUT)
    assert set(variables) == {"params"}
    _, shown = looking(RNN(Own(FEATURES)))({"params": variables["params"]["layers_0"]})
    np.testing.assert_array_equal(gates(shown)["half gate"], np.full((ROWS, TIME, FEATURES), 0.5))
