"""Recording internals and streaming: outputs of every cell stay the same."""

from typing import Any

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
    MatrixCell,
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
    "LEMCell": {"time step gate of the memory", "time step gate of the output"},
    "UnICORNNCell": set(),
    "ParaGRUCell": {"update gate", "reset gate"},
    "ParaLSTMCell": LSTM,
    "BRCCell": {"feedback gate (above 1/2 is bistable)", "update gate (1 keeps)"},
    "S5Cell": set(),
    "MambaCell": set(),
    "LTCCell": set(),
    "CfCCell": {"time gate"},
    "LinOSSCell": set(),
    "GatedDeltaNetCell": {"update gate", "forget gate"},
    "GatedDeltaNetCell(gated=False, heads=2)": {"update gate"},
    "DeltaProductCell": {"update gate", "forget gate"},
    "GatedLinearAttentionCell": {"forget gate"},
    "Mamba2Cell": {"forget gate"},
    "MLSTMCell": {"forget gate", "output gate"},
    "RWKV7Cell": {"update gate", "forget gate"},
    "flax.linen:LSTMCell": set(),
}
"""The gates that a cell names."""


def random_params(layer, seed=1):
    """Returns random parameters for a layer, biases included."""
    shapes = jax.eval_shape(layer.init, jax.random.key(0), INPUT)
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda leaf: 0.7 * rng.standard_normal(leaf.shape).astype(leaf.dtype), shapes
    )


def make_recorder(layer):
    """Returns a function from inputs to the results of a layer and its recorded internals."""

    @jax.jit
    def record(variables, inputs=INPUT, mask=MASK, states=None):
        results, internals = layer.apply(variables, inputs, mask, states, mutable=INTERNALS)
        return results, internals[INTERNALS]

    return record


def named_gates(internals):
    """Returns the gates of a layer by their names."""
    leaves = jax.tree_util.tree_leaves_with_path(internals.get("cell", {}))
    return {jax.tree_util.keystr(path[-1:], simple=True): values for path, values in leaves}


def assert_close(actual, expected):
    """Fails unless two trees agree up to rounding."""
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-6), actual, expected
    )


def test_every_vector_cell_is_listed():
    assert {name.split("(")[0] for name in GATES} - {"flax.linen:LSTMCell"} == set(CELLS) - {
        "ConvLSTMCell"
    }


@pytest.mark.parametrize("spec", GATES)
def test_stack_records_gates_and_streams_step_by_step(spec):
    stack: Any = Stack([RNN(make_cell(spec, FEATURES)), RNN(make_cell(spec, FEATURES))])
    variables = random_params(stack)
    assert set(variables) == {"params"}
    finals, outputs = jax.jit(stack.apply)(variables, INPUT, MASK)
    record = make_recorder(stack)
    actual, internals = record(variables)
    assert_close(actual, (finals, outputs))

    # Masked steps alone give the states in which the layers begin.
    (states, _), _ = record(variables, INPUT, np.zeros_like(MASK))
    for step in range(TIME):
        step_slice = np.s_[:, step : step + 1]
        (states, output), step_internals = record(
            variables, INPUT[step_slice], MASK[step_slice], states
        )
        assert_close(output, outputs[step_slice])
        assert_close(
            step_internals,
            jax.tree.map(lambda values, step_slice=step_slice: values[step_slice], internals),
        )
        for final, name in zip(states, ("layers_0", "layers_1"), strict=True):
            assert_close(
                final, jax.tree.map(lambda values: values[:, 0], step_internals[name]["state"])
            )
    assert_close(states, finals)

    for layer in ("layers_0", "layers_1"):
        layer_gates = named_gates(internals[layer])
        assert set(layer_gates) == GATES[spec]
        for values in layer_gates.values():
            assert values.shape[:2] == (ROWS, TIME)
            if not isinstance(stack.layers[0].cell, MatrixCell):  # those have one a head or a key
                assert values.shape[2:] == (FEATURES,)
            assert ((values >= 0) & (values <= 1)).all()
            valid = np.asarray(values)[MASK]
            assert valid.std(axis=0).max() > 1e-3


@pytest.mark.parametrize("spec", [spec for spec in GATES if GATES[spec]])
def test_unrecorded_gates_add_no_operations(spec, monkeypatch):
    layer = RNN(make_cell(spec, FEATURES))
    variables = random_params(layer)
    with_gates = str(jax.make_jaxpr(layer.apply)(variables, INPUT, MASK))
    monkeypatch.setattr(AbstractCell, "gate", lambda self, name, values: values)
    assert str(jax.make_jaxpr(layer.apply)(variables, INPUT, MASK)) == with_gates


def test_lstm_gates_equal_the_equations():
    layer = RNN(LSTMCell(FEATURES))
    variables = random_params(layer)
    _, internals = make_recorder(layer)(variables, np.nan_to_num(INPUT), np.ones_like(MASK))
    params = variables["params"]["cell"]
    hidden = np.asarray(internals["state"].hidden)
    previous = np.pad(hidden[:, :-1], ((0, 0), (1, 0), (0, 0)))
    units = np.nan_to_num(INPUT) @ params["input"]["kernel"] + params["input"]["bias"]
    units = units + previous @ params["recurrent_kernel"]
    i, f, _, o = np.split(1 / (1 + np.exp(-units)), 4, axis=-1)
    for name, expected in (("input gate", i), ("forget gate", f), ("output gate", o)):
        np.testing.assert_allclose(named_gates(internals)[name], expected, atol=1e-5)


def test_update_gate_polarity():
    for cell, name, keeps in (
        (GRUCell(FEATURES), "update gate (1 keeps)", 1),
        (MinGRUCell(FEATURES), "update gate", 0),
    ):
        layer = RNN(cell)
        _, internals = make_recorder(layer)(random_params(layer), np.full_like(INPUT, 200.0), None)
        gate, state = np.asarray(named_gates(internals)[name]), np.asarray(internals["state"])
        is_kept = np.abs(np.diff(state, axis=1)) < 1e-3
        is_closed = np.abs(gate - keeps) < 1e-6
        assert is_closed.any()
        assert is_kept[is_closed[:, 1:]].all()


@pytest.mark.parametrize("reverse", [False, True])
def test_recorded_states_are_constant_where_masked(reverse):
    layer = RNN(GRUCell(FEATURES), reverse=reverse, return_sequences=False)
    (final, _), internals = make_recorder(layer)(random_params(layer))
    states = np.asarray(internals["state"])
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
def test_gates_are_recorded_under_every_engine_and_wrapper(layer):
    variables = random_params(layer)
    actual, internals = make_recorder(layer)(variables)
    assert_close(actual, jax.jit(layer.apply)(variables, INPUT, MASK))
    internals = internals.get("layer", internals)
    assert all(values.shape == (ROWS, TIME, FEATURES) for values in named_gates(internals).values())
    assert named_gates(internals)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(internals))


def test_both_directions_record_gates():
    layer = Bidirectional(LSTMCell(FEATURES))
    variables = random_params(layer)
    _, internals = make_recorder(layer)(variables)
    assert set(internals) == {"forward", "backward"}
    single = RNN(LSTMCell(FEATURES), reverse=True)
    _, expected = make_recorder(single)({"params": variables["params"]["backward"]})
    assert_close(internals["backward"], expected)


def test_init_records_nothing_and_user_cells_are_recorded():
    class HalfGateCell(SimpleCell):
        def step(self, state, projected):
            gate = self.gate("half gate", jnp.full_like(state, 0.5))
            new, _ = super().step(state, projected)
            new = gate * new
            return new, new

    layer = nn.Sequential([RNN(HalfGateCell(FEATURES))])
    variables = layer.init(jax.random.key(0), INPUT)
    assert set(variables) == {"params"}
    _, internals = make_recorder(RNN(HalfGateCell(FEATURES)))(
        {"params": variables["params"]["layers_0"]}
    )
    np.testing.assert_array_equal(
        named_gates(internals)["half gate"], np.full((ROWS, TIME, FEATURES), 0.5)
    )
