"""The GRU with diagonal recurrent kernels."""

import jax
import numpy as np

from rnnjax.cells import ParaGRUCell

from .reference import FEATURES, ROWS, assert_matches_equations, random_sequence


def logistic(x):
    """1 / (1 + exp(-x))."""
    return 1 / (1 + np.exp(-x))


def para_gru(cell, p, state, x):
    """Danieli et al. (2025): a GRU whose recurrent matrices are diagonal."""
    del cell
    (h,) = state
    a_z, a_r, a_n = (np.diag(a) for a in np.split(p["recurrent_kernel"], 3))
    w_z, w_r, w_n = np.split(p["input"]["kernel"], 3, axis=1)
    b_z, b_r, b_n = np.split(p["input"]["bias"], 3)
    z = logistic(h @ a_z + x @ w_z + b_z)
    r = logistic(h @ a_r + x @ w_r + b_r)
    candidate = np.tanh((h * r) @ a_n + x @ w_n + b_n)
    h = h + z * (candidate - h)
    return (h,), h


def test_equations():
    assert_matches_equations(ParaGRUCell(FEATURES), para_gru)


def test_jacobian_by_the_state_is_diagonal():
    cell = ParaGRUCell(FEATURES)
    variables, x, state = random_sequence(cell)
    bound = cell.bind({"params": variables["params"]["cell"]})
    step = jax.vmap(jax.jacfwd(lambda state, u: bound.step(state, u)[0]))
    jacobians = np.asarray(jax.jit(step)(state, bound.project(x[:, 0])))
    assert jacobians.shape == (ROWS, FEATURES, FEATURES)
    diagonal = np.eye(FEATURES, dtype=bool)
    assert jacobians[:, diagonal].all()
    assert not jacobians[:, ~diagonal].any()
