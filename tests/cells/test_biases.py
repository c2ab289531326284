"""Initial biases of forget and input gates: `chrono` and `forget_bias`, for every gated cell."""

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


def initial_params(cell):
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


def retained_share(cell):
    """Returns the share of the state that a new cell retains after one step with zero kernels."""
    kernels = ("kernel_init", "recurrent_init")
    fields = {field.name for field in dataclasses.fields(cell)}
    cell = cell.clone(**dict.fromkeys(fields & {*kernels}, nn.initializers.zeros))
    inputs = jnp.zeros((1, 1, 1) if isinstance(cell, ConvLSTMCell) else (1, 1))
    state = jax.tree.map(jnp.ones_like, cell.initial_state(inputs.shape))
    (final, _), _ = jax.jit(cell.init_with_output)(jax.random.key(0), state, inputs)
    return np.ravel(final.cell if isinstance(final, LSTMState) else final)


@pytest.mark.parametrize("name", GATED)
def test_chrono_spreads_memory_lengths_over_units(name):
    """The retained share is 1 - 1 / (1 + u), at least a half because u is at least 1."""
    share = retained_share(chrono(GATED[name], STEPS))
    u = share / (1 - share)
    assert len(set(u)) == 9
    assert (u >= 1).all()
    assert (u <= STEPS - 1 + 1e-4).all()
    assert u.max() > STEPS / 2


@pytest.mark.parametrize("name", GATED)
def test_forget_bias_sets_the_retained_share(name):
    for value in (-2.0, 1.0, 3.0):
        share = retained_share(forget_bias(GATED[name], value))
        gate = 1 / (1 + np.exp(-value))
        expected = gate / (gate + 0.5) if name == "min lstm" else gate
        np.testing.assert_allclose(share, expected, rtol=1e-5)


def test_chrono_biases_of_an_lstm():
    # Drawing so large an orthogonal matrix would take half a minute.
    cell = LSTMCell(4000, recurrent_init=nn.initializers.zeros)
    bias = initial_params(chrono(cell, STEPS))["input"]["bias"]
    i, f, g, o = np.split(bias, 4)
    u = np.exp(f.astype(np.float64))
    # The keys are fixed, so the outcome is deterministic.
    assert stats.kstest(u, stats.uniform(1, STEPS - 2).cdf).pvalue > 1e-3
    np.testing.assert_array_equal(i, -f)
    assert not np.concatenate([g, o]).any()


def test_chrono_changes_only_the_update_gate_of_a_gru():
    params = initial_params(chrono(init_like(GRUCell(9), "torch"), STEPS))
    r, z, n = np.split(params["input"]["bias"], 3)
    assert z.all()
    assert not np.concatenate([r, n, params["recurrent_bias"]]).any()
    assert 0.3 < np.abs(params["recurrent_kernel"]).max() < 1 / np.sqrt(9)


def test_chrono_of_two_steps_is_a_zero_bias():
    assert not initial_params(chrono(LSTMCell(2), 2))["input"]["bias"].any()


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
def test_cells_without_a_forget_gate_raise(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_bias_init_of_other_gates_raises():
    bias_init = chrono(LSTMCell(9), STEPS).bias_init
    with pytest.raises(InputError, match=r"shape \(27,\), expected 4 gates .*rnnjax.cells.chrono"):
        initial_params(GRUCell(9, bias_init=bias_init))
