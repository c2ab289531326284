"""Biases by which a new cell remembers: of the gates that keep and that let in, of each cell."""

import dataclasses
import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from rnnjax.cells import (
    ConvLSTMCell,
    GRUCell,
    JANETCell,
    LayerNormLSTMCell,
    LSTMCell,
    LSTMState,
    MGUCell,
    MinGRUCell,
    MinLSTMCell,
    MultiplicativeLSTMCell,
    SimpleCell,
    SLSTMCell,
    chrono,
    forget_bias,
    init_like,
)
from rnnjax.errors import InputError


def begun(cell):
    """Returns the parameters of a new cell of three inputs."""
    init = jax.jit(functools.partial(cell.init, method="project"))
    return jax.tree.map(np.asarray, init(jax.random.key(0), jnp.ones((1, 3)))["params"])


STEPS = 11
GATED: dict[str, Any] = {
    "lstm": LSTMCell(9),
    "lstm, coupled": LSTMCell(9, coupled=True),
    "gru": GRUCell(9),
    "gru of torch": init_like(GRUCell(9), "torch"),
    "mgu": MGUCell(9),
    "mgu of the paper": MGUCell(9, reset="before", f_keeps=False),
    "janet": JANETCell(9),
    "layer norm lstm": LayerNormLSTMCell(9),
    "multiplicative lstm": MultiplicativeLSTMCell(9),
    "conv lstm": ConvLSTMCell(9, kernel_size=(1,)),
    "min gru": MinGRUCell(9),
    "min lstm": MinLSTMCell(9),
}


def kept_by(cell):
    """Returns the share of a new cell's memory that is left after a step with nothing to read."""
    kernels = ("kernel_init", "recurrent_init")
    fields = {field.name for field in dataclasses.fields(cell)}
    cell = cell.clone(**dict.fromkeys(fields & {*kernels}, nn.initializers.zeros))
    inputs = jnp.zeros((1, 1, 1) if isinstance(cell, ConvLSTMCell) else (1, 1))
    state = jax.tree.map(jnp.ones_like, cell.initial_state(inputs.shape))
    (final, _), _ = jax.jit(cell.init_with_output)(jax.random.key(0), state, inputs)
    return np.ravel(final.cell if isinstance(final, LSTMState) else final)


@pytest.mark.parametrize("name", GATED)
def test_by_chrono_a_unit_forgets_over_its_own_time(name):
    """The share that a step keeps is 1 - 1 / (1 + u), at least a half because u is at least 1."""
    kept = kept_by(chrono(GATED[name], STEPS))
    u = kept / (1 - kept)
    assert len(set(u)) == 9
    assert (u >= 1).all()
    assert (u <= STEPS - 1 + 1e-4).all()
    assert u.max() > STEPS / 2


@pytest.mark.parametrize("name", GATED)
def test_a_forget_bias_is_that_of_the_gate_that_keeps(name):
    for value in (-2.0, 1.0, 3.0):
        kept = kept_by(forget_bias(GATED[name], value))
        gate = 1 / (1 + np.exp(-value))
        expected = gate / (gate + 0.5) if name == "min lstm" else gate
        np.testing.assert_allclose(kept, expected, rtol=1e-5)


def test_chrono_spreads_the_memories_of_an_lstm_and_opens_its_input_gates_by_as_much():
    # Drawing so large an orthogonal matrix would take half a minute.
    cell = LSTMCell(4000, recurrent_init=nn.initializers.zeros)
    bias = begun(chrono(cell, STEPS))["input"]["bias"]
    i, f, g, o = np.split(bias, 4)
    u = np.exp(f.astype(np.float64))
    # The keys are fixed, and so is what the test finds.
    assert stats.kstest(u, stats.uniform(1, STEPS - 2).cdf).pvalue > 1e-3
    np.testing.assert_array_equal(i, -f)
    assert not np.concatenate([g, o]).any()


def test_chrono_leaves_the_other_gates_of_a_gru_alone():
    params = begun(chrono(init_like(GRUCell(9), "torch"), STEPS))
    r, z, n = np.split(params["input"]["bias"], 3)
    assert z.all()
    assert not np.concatenate([r, n, params["recurrent_bias"]]).any()
    assert 0.3 < np.abs(params["recurrent_kernel"]).max() < 1 / np.sqrt(9)


def test_the_shortest_memory_of_chrono_is_a_bias_of_zero():
    assert not begun(chrono(LSTMCell(2), 2))["input"]["bias"].any()


TEXT: Any = "784"
NUMBER: Any = 784
CELL: Any = LSTMCell(4)
CLASS: Any = LSTMCell


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: chrono(CELL, 1), "max_steps: given 1, expected at least 2"),
        (lambda: chrono(CELL, TEXT), "max_steps: given '784'"),
        (lambda: chrono(SimpleCell(4), 9), r"chrono: given SimpleCell.*LSTMCell\(64\), GRUCell"),
        (lambda: chrono(NUMBER, CELL), "chrono: given int"),
        (lambda: forget_bias(CLASS), "forget_bias: given the class LSTMCell"),
        (lambda: forget_bias(SLSTMCell(4)), "forget_bias: given SLSTMCell"),
    ],
)
def test_what_has_no_gate_that_keeps_is_told_what_has(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_a_bias_of_other_gates_is_refused():
    lent = chrono(LSTMCell(9), STEPS).bias_init
    with pytest.raises(InputError, match=r"shape \(27,\), expected 4 gates .*rnnjax.cells.chrono"):
        begun(GRUCell(9, bias_init=lent))
