"""Rematerialisation changes the memory of a gradient and no result."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.cells import ConvLSTMCell, GRUCell, LSTMCell, MinGRUCell, RecurrentDropout, SRUCell
from rnnjax.layers import RNN

ROWS, TIME, INPUTS = 4, 11, 3  # 11 is three stretches of three steps, and two more
MASK = np.array(
    [[step == "#" for step in row] for row in ("#" * 11, "....#..#...", "." * 9 + "##")]
)
MASK = np.concatenate([MASK, np.zeros((1, TIME), bool)])
RESETS = np.random.default_rng(5).random((ROWS, TIME)) < 0.3


def run_with_gradients(layer, mask, resets=None, features=(INPUTS,)):
    """Returns final state and outputs, and the gradients of parameters, inputs and state."""
    rng = np.random.default_rng(0)
    inputs = jnp.asarray(rng.standard_normal((ROWS, TIME, *features)), jnp.float32)
    shapes = jax.eval_shape(layer.init_with_output, jax.random.key(0), inputs, mask)
    random_values: Any = jax.tree.map(
        lambda leaf: jnp.asarray(0.7 * rng.standard_normal(leaf.shape), leaf.dtype), shapes
    )
    (state, _), variables = random_values

    def loss(variables, inputs, state):
        returned = layer.apply(variables, inputs, mask, state, resets)
        leaves = jax.tree.leaves(returned)
        weights = [np.random.default_rng(1).random(leaf.shape) for leaf in leaves]
        return sum(jnp.sum(w * leaf**2) for w, leaf in zip(weights, leaves, strict=True)), returned

    return jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True))(
        variables, inputs, state
    )


def assert_remat_equals_plain(make, **arguments):
    plain, remat = (run_with_gradients(make(remat), **arguments) for remat in (False, True))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), remat, plain)
    assert all(np.asarray(leaf).any() for leaf in jax.tree.leaves(remat))


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize(
    ("cell", "engine"), [(LSTMCell, "fused"), (SRUCell, "scan"), (MinGRUCell, "associative")]
)
def test_values_and_gradients_are_unchanged(cell, engine, sequences, reverse):
    options = {"return_sequences": sequences, "reverse": reverse, "engine": engine}
    assert_remat_equals_plain(lambda remat: RNN(cell(4), remat=remat, **options), mask=MASK)


@pytest.mark.parametrize("reverse", [False, True])
def test_remat_with_resets_images_and_no_mask(reverse):
    assert_remat_equals_plain(
        lambda remat: RNN(GRUCell(4), reverse, remat=remat), mask=MASK, resets=RESETS
    )
    cell = ConvLSTMCell(2, kernel_size=(3,))
    assert_remat_equals_plain(
        lambda remat: RNN(cell, reverse, False, remat=remat), mask=None, features=(5, 3)
    )


def test_dropout_masks_are_recomputed_identically():
    layer = RNN(RecurrentDropout(LSTMCell(4, update_dropout=0.5), 0.5), remat=True)
    inputs = jnp.asarray(np.random.default_rng(0).standard_normal((2, TIME, INPUTS)), jnp.float32)
    variables = jax.jit(layer.init)(jax.random.key(0), inputs)

    @jax.jit
    def loss(inputs):
        _, outputs = layer.apply(variables, inputs, rngs={"dropout": jax.random.key(1)})
        return jnp.sum(jnp.square(jnp.asarray(outputs)))

    # Masks drawn anew in the backward pass would give the gradient of another function.
    step = 1e-2 * np.random.default_rng(1).standard_normal(inputs.shape)
    expected = (loss(inputs + step) - loss(inputs - step)) / 2
    np.testing.assert_allclose(jnp.sum(jax.grad(loss)(inputs) * step), expected, rtol=1e-2)


def memory(time, *, gradient=True, **options):
    """Returns the bytes of temporary memory that XLA allocates."""
    layer = RNN(LSTMCell(16), return_sequences=False, **options)
    variables = jax.eval_shape(layer.init, jax.random.key(0), jnp.zeros((2, 4, 16)))

    def loss(variables, inputs, mask):
        return jnp.sum(jnp.square(jnp.asarray(layer.apply(variables, inputs, mask)[1])))

    run = jax.grad(loss, argnums=(0, 1)) if gradient else loss
    inputs = jax.ShapeDtypeStruct((2, time, 16), jnp.float32)
    mask = jax.ShapeDtypeStruct((2, time), jnp.bool_)
    compiled: Any = jax.jit(run).lower(variables, inputs, mask).compile().memory_analysis()
    return compiled.temp_size_in_bytes


@pytest.mark.parametrize("engine", ["scan", "fused"])
def test_gradient_memory_grows_with_the_root_of_time(engine):
    def exponent(remat):
        short, long = (memory(time, engine=engine, remat=remat) for time in (256, 4096))
        return math.log(long / short) / math.log(16)

    assert exponent(remat=True) < 0.6
    assert exponent(remat=False) > 0.9


@pytest.mark.parametrize("engine", ["scan", "fused"])
def test_last_output_stores_no_states(engine):
    # The rest are the projected inputs: four gates of 16 features, and a copy.
    assert memory(4096, gradient=False, engine=engine) < 2.2 * (4096 * 2 * 4 * 16) * 4
