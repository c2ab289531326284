"""The sLSTM, with its stabiliser."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit as sigmoid

from rnnjax.cells import SLSTMCell, SLSTMState
from rnnjax.errors import InputError
from rnnjax.layers import RNN

from .reference import (
    FEATURES,
    INPUTS,
    assert_close,
    assert_matches_equations,
    initial_params,
    random_sequence,
    state_parts,
    to_double,
)


def slstm(cell, p, state, x):
    """Beck et al. (2024) without the stabiliser, head by head; the state is (h, c, n)."""
    h, c, n = state
    gates = x @ p["input"]["kernel"] + p["input"]["bias"]
    i, f, z, o = (gates[:, k * FEATURES : (k + 1) * FEATURES].copy() for k in range(4))
    size = FEATURES // cell.heads
    for head in range(cell.heads):
        units = slice(head * size, (head + 1) * size)
        for k, gate in enumerate((i, f, z, o)):
            block = p["recurrent_kernel"][head][:, k * size : (k + 1) * size]
            gate[:, units] += h[:, units] @ block
    forget = {"sigmoid": sigmoid, "exponential": np.exp}[cell.forget_gate](f)
    c = forget * c + np.exp(i) * np.tanh(z)
    n = forget * n + np.exp(i)
    h = sigmoid(o) * c / n
    return (h, c, n), h


def remove_stabilizer(state: SLSTMState) -> tuple[np.ndarray, ...]:
    """Returns (h, c, n) of a state whose c and n are scaled by exp(-m)."""
    h, c, n, m = state_parts(state)
    return h, c * np.exp(m), n * np.exp(m)


@pytest.mark.parametrize("options", [{}, {"forget_gate": "exponential", "heads": 3}], ids=str)
def test_equations(options):
    cell = SLSTMCell(FEATURES, **options)
    _, _, state = random_sequence(cell)
    state = state._replace(normalizer=0.5 + np.abs(state.normalizer))
    assert_matches_equations(cell, slstm, state=state, parts=remove_stabilizer, tolerance=2e-6)


@functools.partial(jax.jit, static_argnames="forget_gate")
def run_gates(gates, forget_gate) -> Any:
    """Returns final state, outputs and their derivatives for preactivations (i, f, z, o)."""
    layer: Any = RNN(SLSTMCell(1, forget_gate=forget_gate))
    params = {
        "input": {"kernel": jnp.eye(4), "bias": jnp.zeros(4)},
        "recurrent_kernel": jnp.zeros((1, 1, 4)),
    }

    def run(gates):
        final, outputs = layer.apply({"params": {"cell": params}}, gates)
        return outputs[..., 0], final

    outputs, pull_back, final = jax.vjp(run, gates, has_aux=True)
    # The rows do not mix, so that one backward pass a step serves all of them.
    steps = jnp.eye(gates.shape[1])[:, None] * jnp.ones_like(outputs)[None]
    return final, outputs, jax.vmap(pull_back)(steps)[0]


@pytest.mark.parametrize("forget_gate", ["sigmoid", "exponential"])
def test_first_output_does_not_depend_on_its_gates(forget_gate):
    i, f = np.meshgrid([-1e4, -200, 0, 200, 1e4], [-1e4, 0, 1e4])
    gates = np.stack([i, f, 0 * i + 0.3, 0 * i - 0.4], axis=-1).reshape(15, 1, 4)
    final, outputs, gradients = run_gates(jnp.asarray(gates, jnp.float32), forget_gate)
    assert_close(outputs, np.full((15, 1), np.tanh(0.3) * sigmoid(-0.4)), 1e-7)
    assert (final.normalizer == 1).all()
    assert np.isfinite(gradients).all()
    assert not gradients[..., :2].any()
    assert gradients[..., 2:].all()


@pytest.mark.parametrize("forget_gate", ["sigmoid", "exponential"])
def test_large_preactivations_give_the_weighted_mean(forget_gate):
    gates = 300 * np.random.default_rng(6).standard_normal((5, 30, 4))
    gates[..., 2:] /= 300
    final, outputs, gradients = run_gates(jnp.asarray(gates, jnp.float32), forget_gate)
    for part in (*final, outputs, gradients):
        assert np.isfinite(part).all()
    assert (final.normalizer >= 1).all()
    i, f, z, o = np.moveaxis(gates, -1, 0)
    log_f = -np.logaddexp(0, -f) if forget_gate == "sigmoid" else f
    for t in range(30):
        # The weight of a step is its input gate times every later forget gate.
        later = np.cumsum(log_f[:, t:0:-1], axis=1)[:, ::-1]
        weights = i[:, : t + 1] + np.pad(later, ((0, 0), (0, 1)))
        weights = np.exp(weights - weights.max(axis=1, keepdims=True))
        mean = (weights * np.tanh(z[:, : t + 1])).sum(axis=1) / weights.sum(axis=1)
        # The sums of the gates reach 1e4, whose rounding is 1e-3.
        assert_close(outputs[:, t], sigmoid(o[:, t]) * mean, 3e-3)


def test_gradients_equal_the_equations_without_the_stabilizer():
    with jax.enable_x64(True):
        cell = SLSTMCell(FEATURES, heads=2, param_dtype=jnp.float64)
        layer: Any = RNN(cell)
        variables, _, _ = random_sequence(cell)
        params = jax.tree.map(to_double, variables["params"]["cell"])
        x = np.random.default_rng(7).standard_normal((2, 3, INPUTS))

        def stabilized_loss(params):
            final, outputs = layer.apply({"params": {"cell": params}}, x)
            return jnp.sum(jnp.cos(outputs)) + jnp.sum(jnp.sin(final.hidden))

        def loss(params):
            h, c, n = jnp.zeros((3, 2, FEATURES))
            total = 0
            kernel = jnp.zeros((FEATURES, 4, FEATURES))
            for head, block in enumerate(params["recurrent_kernel"]):
                units = slice(3 * head, 3 * head + 3)
                kernel = kernel.at[units, :, units].set(block.reshape(3, 4, 3))
            for step in np.moveaxis(x, 1, 0):
                gates = step @ params["input"]["kernel"] + params["input"]["bias"][None]
                gates = gates + h @ kernel.reshape(FEATURES, -1)
                i, f, z, o = jnp.split(gates, 4, axis=-1)
                i, f = jnp.exp(i), jax.nn.sigmoid(f)
                c, n = f * c + i * jnp.tanh(z), f * n + i
                h = jax.nn.sigmoid(o) * c / n
                total += jnp.sum(jnp.cos(h))
            return total + jnp.sum(jnp.sin(h))

        actual = jax.jit(jax.grad(stabilized_loss))(params)
        expected = jax.jit(jax.grad(loss))(params)
        compare = functools.partial(np.testing.assert_allclose, rtol=0, atol=1e-12)
        jax.tree.map(compare, actual, expected)


@pytest.mark.parametrize(("heads", "forget_gate"), [(3, "sigmoid"), (1, "exponential")])
def test_initial_heads_are_orthogonal_and_forget_little(heads, forget_gate):
    params = initial_params(SLSTMCell(FEATURES, heads=heads, forget_gate=forget_gate))
    kernels = params["recurrent_kernel"]
    for kernel in kernels:
        assert_close(kernel @ kernel.T, np.eye(FEATURES // heads))
    assert len({kernel.tobytes() for kernel in kernels}) == heads
    bias = params["input"]["bias"].reshape(4, FEATURES)
    assert (bias == [[0], [forget_gate == "sigmoid"], [0], [0]]).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heads": 4}, "heads: given 4, expected a divisor of features = 6"),
        ({"heads": 0}, "heads: given 0"),
        ({"forget_gate": "tanh"}, "forget_gate: given 'tanh', expected one of sigmoid"),
    ],
)
def test_invalid_options_raise(options, message):
    with pytest.raises(InputError, match=message):
        SLSTMCell(6, **options)
