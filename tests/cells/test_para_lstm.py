"""The LSTM with diagonal recurrent kernels."""

import jax
import numpy as np

from rnnjax.cells import LSTMState, ParaLSTMCell

from .reference import FEATURES, assert_matches_equations, initial_params, random_sequence


def logistic(x):
    """1 / (1 + exp(-x))."""
    return 1 / (1 + np.exp(-x))


def para_lstm(cell, p, state, x):
    """Danieli et al. (2025): coupled gates, peepholes, diagonal recurrent matrices."""
    del cell
    h, c = state
    a_f, a_n, a_o = (np.diag(a) for a in np.split(p["recurrent_kernel"], 3))
    w_f, w_n, w_o = np.split(p["input"]["kernel"], 3, axis=1)
    b_f, b_n, b_o = np.split(p["input"]["bias"], 3)
    p_f, p_o = np.split(p["peephole"], 2)
    f = logistic(h @ a_f + x @ w_f + p_f * c + b_f)
    candidate = np.tanh(h @ a_n + x @ w_n + b_n)
    c = candidate + f * (c - candidate)
    o = logistic(h @ a_o + x @ w_o + p_o * c + b_o)
    h = o * np.tanh(c)
    return (h, c), h


def test_equations():
    assert_matches_equations(ParaLSTMCell(FEATURES), para_lstm)


def test_jacobian_by_the_state_has_blocks_of_two():
    cell = ParaLSTMCell(FEATURES)
    variables, x, state = random_sequence(cell)
    bound = cell.bind({"params": variables["params"]["cell"]})

    def step(h, c, u):
        return tuple(bound.step(LSTMState(h, c), u)[0])

    jacobian = jax.jit(jax.vmap(jax.jacfwd(step, argnums=(0, 1))))
    diagonal = np.eye(FEATURES, dtype=bool)
    for block in jax.tree.leaves(jacobian(*state, bound.project(x[:, 0]))):
        block = np.asarray(block)
        assert block[:, diagonal].all()
        assert not block[:, ~diagonal].any()


def test_only_the_forget_gate_starts_with_a_bias():
    f, n, o = np.split(initial_params(ParaLSTMCell(FEATURES))["input"]["bias"], 3)
    assert (f == 1).all()
    assert not np.concatenate([n, o]).any()
