"""The learning-rate schedule, and Adam with clipping and weight decay."""

import jax
import jax.numpy as jnp
import keras
import numpy as np
import optax
import pytest

from rnnjax.config.sections import OptimizerConfig
from rnnjax.training.optimizer import make_optimizer
from rnnjax.training.schedule import make_schedule


@pytest.fixture(autouse=True)
def standard_promotion():
    """Promotes dtypes as the training step does for optax."""
    with jax.numpy_dtype_promotion("standard"):
        yield


def optimizer_of(**options):
    names = OptimizerConfig.model_fields
    section = {name: value for name, value in options.items() if name in names}
    arguments = {name: value for name, value in options.items() if name not in names}
    return make_optimizer(
        OptimizerConfig(**section, arguments=arguments), optax.constant_schedule(0.5)
    )


def learning_rates(kind, warmup_steps, num_steps):
    schedule = make_schedule(kind, 0.5, warmup_steps, num_steps)
    return [float(jnp.asarray(schedule(step))) for step in range(num_steps + 1)]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("constant", [0.5, 0.5, 0.5, 0.5, 0.5]),
        ("linear", [0.5, 0.375, 0.25, 0.125, 0.0]),
        ("cosine", [0.5 * (1 + np.cos(np.pi * step / 4)) / 2 for step in range(5)]),
    ],
)
def test_schedule_warms_up_and_decays(kind, expected):
    np.testing.assert_allclose(learning_rates(kind, 0, 4), expected, atol=1e-7)
    np.testing.assert_allclose(learning_rates(kind, 2, 6), [0.0, 0.25, *expected], atol=1e-7)


def first_update(gradient, **options):
    params = jnp.array([2.0, -4.0])
    optimizer = optimizer_of(**options)
    updates, _ = optimizer.update(jnp.asarray(gradient), optimizer.init(params), params)
    return np.asarray(updates)


def test_first_update_is_the_learning_rate_against_the_gradient():
    np.testing.assert_allclose(first_update([3.0, -40.0]), [-0.5, 0.5], rtol=1e-5)


def test_weight_decay_is_decoupled():
    updates = first_update([3.0, -40.0], weight_decay=0.1)
    np.testing.assert_allclose(updates, [-0.5 - 0.5 * 0.1 * 2, 0.5 + 0.5 * 0.1 * 4], rtol=1e-5)


def test_gradients_are_clipped_by_their_global_norm():
    # Adam normalizes the scale of a gradient but for epsilon: a large one makes the scale visible.
    epsilon = 0.001**0.5  # 1 after its correction at the first step
    updates = first_update([3.0, -4.0], clip_norm=0.5, epsilon=epsilon)
    np.testing.assert_allclose(updates, [-0.5 * 0.3 / 1.3, 0.5 * 0.4 / 1.4], rtol=1e-5)
    unclipped = first_update([0.3, -0.4], clip_norm=5.0, epsilon=epsilon)
    np.testing.assert_allclose(unclipped, [-0.5 * 0.3 / 1.3, 0.5 * 0.4 / 1.4], rtol=1e-5)


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_b2_is_the_decay_of_the_second_moment(decay):
    optimizer = optimizer_of(b2=0.5, weight_decay=decay)
    params = jnp.array([2.0])
    _, state = optimizer.update(jnp.array([3.0]), optimizer.init(params), params)
    updates, _ = optimizer.update(jnp.array([1.0]), state, params)
    first, second = (0.9 * 0.1 * 3 + 0.1 * 1) / 0.19, (0.5 * 0.5 * 9 + 0.5 * 1) / 0.75
    expected = -0.5 * (first / second**0.5 + decay * 2)
    np.testing.assert_allclose(np.asarray(updates), [expected], rtol=1e-5)


def test_updates_equal_those_of_keras_for_gradients_near_epsilon():
    optimizer, epsilon = optimizer_of(), 1e-7
    params = np.array([2.0, -4.0, 1.0], np.float32)
    state = optimizer.init(params)
    keras_optimizer = keras.optimizers.Adam(0.5, epsilon=epsilon)
    keras_params = keras.Variable(params)
    keras_optimizer.build([keras_params])
    for scale in (1.0, 3.0, -2.0):
        gradient = scale * np.array([1e-8, 3e-7, 1.0], np.float32)
        updates, state = optimizer.update(gradient, state, params)
        params = params + np.asarray(updates)
        keras_optimizer.apply([keras.ops.convert_to_tensor(gradient)], [keras_params])
        np.testing.assert_allclose(
            params, np.asarray(keras.ops.convert_to_numpy(keras_params)), rtol=1e-5
        )
