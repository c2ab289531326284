"""The equations of cells with dynamics of their own, in NumPy, and what to try them on."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax.cells.antisymmetric import AntisymmetricCell
from rnnjax.cells.conv_lstm import ConvLSTMCell
from rnnjax.cells.cornn import CoRNNCell
from rnnjax.cells.echo_state import EchoStateCell
from rnnjax.cells.fast_grnn import FastGRNNCell
from rnnjax.cells.rhn import RHNCell
from rnnjax.cells.slstm import SLSTMCell, SLSTMState

# Compiling takes most of the time here, and what is compiled runs once.
jit: Callable[..., Any] = functools.partial(
    jax.jit, compiler_options={"xla_backend_optimization_level": 0}
)

ROWS, TIME, INPUTS, FEATURES = 4, 6, 3, 6


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def slstm(cell, p, state, x):
    """The equations without the stabiliser, head by head; the state is (h, c, n)."""
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


def rhn(cell, p, state, x):
    (s,) = state
    for layer in range(1, cell.depth + 1):
        units = s @ p[f"recurrent_kernel_{layer}"]
        if layer == 1:
            units = units + x @ p["input"]["kernel"] + p["input"]["bias"]
        else:
            units = units + p[f"recurrent_bias_{layer}"]
        transform = sigmoid(units[:, FEATURES:])
        carry = 1 - transform
        s = np.tanh(units[:, :FEATURES]) * transform + s * carry
    return (s,), s


def echo(cell, p, state, x):
    (s,) = state
    driven = np.tanh(x @ p["input"]["kernel"] + p["input"]["bias"] + s @ p["recurrent_kernel"])
    s = s + cell.leak * (driven - s)
    return (s,), s


def antisymmetric(cell, p, state, x):
    (h,) = state
    w = p["recurrent_kernel"].T
    matrix = w - w.T - cell.gamma * np.eye(FEATURES)
    recurrent = np.stack([matrix @ row for row in h])
    drive = x @ p["input"]["kernel"] + p["input"]["bias"]
    change = cell.epsilon * np.tanh(recurrent + drive[:, :FEATURES])
    if cell.gated:
        change = change * sigmoid(recurrent + drive[:, FEATURES:])
    return (h + change,), h + change


def cornn(cell, p, state, x):
    y, z = state
    of_y, of_z = p["recurrent_kernel"][:FEATURES], p["recurrent_kernel"][FEATURES:]
    force = np.tanh(y @ of_y + z @ of_z + x @ p["input"]["kernel"] + p["input"]["bias"])
    z_new = z + cell.dt * force - cell.dt * cell.gamma * y - cell.dt * cell.epsilon * z
    y_new = y + cell.dt * z_new
    return (y_new, z_new), y_new


def fast_grnn(cell, p, state, x):
    (h,) = state
    w, u = p["input"]["kernel"], p["recurrent_kernel"]
    if cell.input_rank:
        w = p["input_reduced"]["kernel"] @ w
    if cell.recurrent_rank:
        u = p["recurrent_kernel_reduced"] @ u
    z = sigmoid(x @ w + h @ u + p["gate_bias"])
    candidate = np.tanh(x @ w + h @ u + p["bias"])
    zeta, nu = sigmoid(p["zeta_logit"]), sigmoid(p["nu_logit"])
    h = (zeta * (1 - z) + nu) * candidate + z * h
    return (h,), h


def convolution(images, kernel):
    """Returns the sum over the kernel's offsets of shifted images, zeros around them."""
    size = kernel.shape[:-2]
    padding = [((k - 1) // 2, k - 1 - (k - 1) // 2) for k in size]
    padded = np.pad(images, [(0, 0), *padding, (0, 0)])
    total = 0
    for offset in np.ndindex(*size):
        cut = tuple(slice(o, o + n) for o, n in zip(offset, images.shape[1:-1], strict=True))
        total = total + padded[(slice(None), *cut)] @ kernel[offset]
    return total


def conv_lstm(cell, p, state, x):
    h, c = state
    gates = convolution(x, p["input"]["kernel"]) + p["input"]["bias"]
    gates = gates + convolution(h, p["recurrent_kernel"])
    i, f, g, o = (gates[..., k * FEATURES : (k + 1) * FEATURES] for k in range(4))
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    h = sigmoid(o) * np.tanh(c)
    return (h, c), h


class Case(NamedTuple):
    """A cell, its equations, and the image of a step where there is one."""

    cell: Any
    reference: Any
    image: tuple[int, ...] = ()


CASES = {
    "slstm": Case(SLSTMCell(FEATURES), slstm),
    "slstm, exponential, heads": Case(
        SLSTMCell(FEATURES, forget_gate="exponential", heads=3), slstm
    ),
    "rhn": Case(RHNCell(FEATURES), rhn),
    "echo state": Case(EchoStateCell(FEATURES, leak=0.3), echo),
    "antisymmetric": Case(AntisymmetricCell(FEATURES), antisymmetric),
    "antisymmetric, gated": Case(
        AntisymmetricCell(FEATURES, epsilon=0.7, gamma=0.2, gated=True), antisymmetric
    ),
    "cornn": Case(CoRNNCell(FEATURES, dt=0.5, gamma=1.3, epsilon=0.4), cornn),
    "fast grnn": Case(FastGRNNCell(FEATURES), fast_grnn),
    "fast grnn, ranks": Case(FastGRNNCell(FEATURES, input_rank=2, recurrent_rank=4), fast_grnn),
    "conv lstm": Case(ConvLSTMCell(FEATURES, kernel_size=(3, 2)), conv_lstm, (3, 4)),
}

MASK = np.array([[1, 0, 1, 1, 0, 1], [0, 1, 0, 1, 1, 0], [1] * 6, [0] * 6], bool)


def inputs_of(case, seed=0, rows=ROWS, time=TIME):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((rows, time, *case.image, INPUTS)).astype(np.float32)


def initial(cell, image=(), rows=1):
    """Returns the shapes of a cell's parameters and state."""
    step = (rows, *image, INPUTS)
    state = cell.initial_state(step)
    shapes = jax.eval_shape(cell.init, jax.random.key(0), state, jnp.zeros(step))["params"]
    return shapes, state


def drawn(shapes, seed=1):
    """Returns parameters that no initializer gives: none is zero, none has a special form."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda leaf: (0.5 * rng.standard_normal(leaf.shape)).astype(np.float32), shapes
    )


def drawn_state(state, seed=2):
    state = drawn(state, seed)
    if isinstance(state, SLSTMState):
        state = state._replace(normalizer=0.5 + np.abs(state.normalizer))
    return state


def plain(state):
    """Returns the parts of a state in float64, as the equations have them."""
    if isinstance(state, SLSTMState):
        h, c, n, m = (np.asarray(part, np.float64) for part in state)
        return h, c * np.exp(m), n * np.exp(m)
    return tuple(np.asarray(part, np.float64) for part in jax.tree.leaves(state))


def run_reference(case, params, state, inputs):
    """Returns the final state and the outputs, computed in float64."""
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    outputs = []
    for x in np.moveaxis(inputs.astype(np.float64), 1, 0):
        state, output = case.reference(case.cell, params, state, x)
        outputs.append(output)
    return state, np.stack(outputs, axis=1)


def assert_close(actual, expected, atol=2e-6):
    np.testing.assert_allclose(actual, expected, rtol=2e-6, atol=atol)


def _initialised(cell, inputs=INPUTS):
    """Returns a cell's new parameters in NumPy arrays."""
    init = jit(functools.partial(cell.init, method="project"))
    params = init(jax.random.key(0), jnp.zeros((1, inputs)))["params"]
    return jax.tree.map(np.asarray, params)


initialised: Callable[..., Any] = functools.cache(_initialised)
