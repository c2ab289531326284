"""The learning rate of each step, and what surrounds Adam."""

import jax.numpy as jnp
import keras
import numpy as np
import pytest

from rnnjax.config import Config
from rnnjax.training.optimizer import make_optimizer, schedule


def rates(steps, **changes):
    rate = schedule(Config.model_validate({"learning_rate": 0.5, **changes}), steps)
    return [float(jnp.asarray(rate(step))) for step in range(steps + 1)]


@pytest.mark.parametrize(
    ("kind", "after"),
    [
        ("constant", [0.5, 0.5, 0.5, 0.5, 0.5]),
        ("linear", [0.5, 0.375, 0.25, 0.125, 0.0]),
        ("cosine", [0.5 * (1 + np.cos(np.pi * part / 4)) / 2 for part in range(5)]),
    ],
)
def test_the_rate_rises_and_then_goes_on_as_asked(kind, after):
    np.testing.assert_allclose(rates(4, schedule=kind), after, atol=1e-7)
    found = rates(6, schedule=kind, warmup_steps=2)
    np.testing.assert_allclose(found, [0.0, 0.25, *after], atol=1e-7)


def first_step(gradient, **optimizer):
    config = Config.model_validate({"learning_rate": 0.5, "optimizer": optimizer})
    params = jnp.array([2.0, -4.0])
    chain = make_optimizer(config, 10)
    updates, _ = chain.update(jnp.asarray(gradient), chain.init(params), params)
    return np.asarray(updates)


def test_the_first_step_of_adam_is_the_learning_rate_against_the_gradient():
    np.testing.assert_allclose(first_step([3.0, -40.0]), [-0.5, 0.5], rtol=1e-5)


def test_weight_decay_is_decoupled_and_shrinks():
    found = first_step([3.0, -40.0], weight_decay=0.1)
    np.testing.assert_allclose(found, [-0.5 - 0.5 * 0.1 * 2, 0.5 + 0.5 * 0.1 * 4], rtol=1e-5)


def test_a_large_gradient_is_scaled_to_the_norm_that_is_asked():
    # Adam forgets the scale of a gradient but for epsilon, so a large one makes it visible.
    one = 0.001**0.5  # as it is after its correction at the first step
    found = first_step([3.0, -4.0], clip_norm=0.5, epsilon=one)
    np.testing.assert_allclose(found, [-0.5 * 0.3 / 1.3, 0.5 * 0.4 / 1.4], rtol=1e-5)
    small = first_step([0.3, -0.4], clip_norm=5.0, epsilon=one)
    np.testing.assert_allclose(small, [-0.5 * 0.3 / 1.3, 0.5 * 0.4 / 1.4], rtol=1e-5)


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_the_second_moment_forgets_as_fast_as_is_asked(decay):
    optimizer = {"b2": 0.5, "weight_decay": decay}
    config = Config.model_validate({"learning_rate": 0.5, "optimizer": optimizer})
    chain = make_optimizer(config, 10)
    params = jnp.array([2.0])
    _, state = chain.update(jnp.array([3.0]), chain.init(params), params)
    found, _ = chain.update(jnp.array([1.0]), state, params)
    first, second = (0.9 * 0.1 * 3 + 0.1 * 1) / 0.19, (0.5 * 0.5 * 9 + 0.5 * 1) / 0.75
    expected = -0.5 * (first / second**0.5 + decay * 2)
    np.testing.assert_allclose(np.asarray(found), [expected], rtol=1e-5)


def test_steps_are_those_of_keras_also_where_gradients_are_as_small_as_epsilon():
    config = Config.model_validate({"learning_rate": 0.5})
    chain = make_optimizer(config, 10)
    ours = np.array([2.0, -4.0, 1.0], np.float32)
    state = chain.init(ours)
    peer = keras.optimizers.Adam(0.5, epsilon=config.optimizer.epsilon)
    theirs = keras.Variable(ours)
    peer.build([theirs])
    for scale in (1.0, 3.0, -2.0):
        gradient = scale * np.array([1e-8, 3e-7, 1.0], np.float32)
        updates, state = chain.update(gradient, state, ours)
        ours = ours + np.asarray(updates)
        peer.apply([keras.ops.convert_to_tensor(gradient)], [theirs])
        np.testing.assert_allclose(ours, np.array(theirs), rtol=1e-5)
