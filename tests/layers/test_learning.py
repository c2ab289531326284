"""Every cell learns to classify the sign of the first step."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rnnjax.cells import CELLS, MatrixCell, make_cell
from rnnjax.layers import RNN

ROWS, TIME, FEATURES, STEPS = 64, 6, 8, 400
IMAGES = {"ConvLSTMCell"}
"""Cells that read images: here two pixels of one channel."""
SPECS = {
    "ConvLSTMCell": "ConvLSTMCell(kernel_size=(2,))",
    "CoRNNCell": "CoRNNCell(dt=0.5)",  # by default its clock is made for hundreds of steps
    "EchoStateCell": "EchoStateCell(leak=0.5)",
}
CONSTANT_INPUT = {"RWKV7Cell"} | {
    name for name, kind in CELLS.items() if issubclass(kind, MatrixCell)
}
"""Cells that read their memory by a query without a bias: noise alone asks for anything."""
FEATURES_OF = {"EchoStateCell": 64}
"""Only the readout learns."""


def examples(seed: int, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns inputs whose first step is a sign and whose others are noise, and the sign."""
    rng = np.random.default_rng(seed)
    inputs = 0.5 * rng.standard_normal((ROWS, TIME, 2)).astype(np.float32)
    labels = rng.integers(0, 2, ROWS)
    inputs[:, 0] = 2.0 * labels[:, None] - 1.0
    if name in CONSTANT_INPUT:
        inputs = np.concatenate([inputs, np.ones_like(inputs[..., :1])], axis=-1)
    return (inputs[..., None] if name in IMAGES else inputs), labels


class LastOutputClassifier(nn.Module):
    """A cell over time, and a score of its last output."""

    cell: nn.Module

    @nn.compact
    def __call__(self, inputs):
        """Returns a logit for each row."""
        _, output = RNN(self.cell, return_sequences=False)(inputs)
        return nn.Dense(1)(output.reshape(len(inputs), -1))[:, 0]


@pytest.mark.usefixtures("implicit_promotion")  # of optax's Adam
@pytest.mark.parametrize("name", CELLS)
def test_cell_learns_to_remember(name: str):
    model = LastOutputClassifier(make_cell(SPECS.get(name, name), FEATURES_OF.get(name, FEATURES)))
    inputs, labels = examples(0, name)
    optimizer = optax.adam(0.02)

    def loss(params, inputs, labels):
        logits = model.apply(params, inputs)
        return optax.sigmoid_binary_cross_entropy(logits, labels).mean(), logits

    @jax.jit
    def train(params):
        def step(carry, _):
            params, state = carry
            (value, _), gradient = jax.value_and_grad(loss, has_aux=True)(params, inputs, labels)
            updates, state = optimizer.update(gradient, state, params)
            return (optax.apply_updates(params, updates), state), value

        (params, _), losses = jax.lax.scan(step, (params, optimizer.init(params)), length=STEPS)
        return params, losses, loss(params, *examples(1, name))[1]

    params = jax.jit(model.init)(jax.random.key(0), inputs)
    _, losses, logits = train(params)
    assert losses[0] > 0.5
    assert losses[-1] < 0.2
    new_labels = examples(1, name)[1]
    assert jnp.mean((logits > 0) == new_labels) >= 0.9
