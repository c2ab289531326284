"""Every optimizer of optax by its name, and the errors of names and arguments."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rnnjax.config import parse
from rnnjax.config.sections import OptimizerConfig
from rnnjax.errors import InputError
from rnnjax.training.finite import non_finite_paths
from rnnjax.training.optax_functions import OPTIMIZERS, REFUSED, accepts_schedule
from rnnjax.training.optimizer import check_learning_rate_factors, check_optimizer, make_optimizer

PARAMS = {
    "embed": {"embedding": jnp.linspace(-1.0, 1.0, 28).reshape(7, 4)},
    "score": {"kernel": jnp.linspace(-0.5, 0.7, 28).reshape(4, 7), "bias": jnp.full(7, 0.1)},
    "fixed": jnp.ones(3),
}


def trainable(params):
    """Returns a tree that freezes one parameter."""
    return {**jax.tree.map(lambda _: True, params), "fixed": False}


def trained(optimizer, num_steps=3, params=PARAMS):
    """Returns parameters and optimizer state after some steps, as the training step takes them."""

    @jax.jit
    def step(params, state):
        gradients = jax.tree.map(lambda leaf: jnp.sin(3 * leaf) + 0.1 * leaf, params)
        gradients = {**gradients, "fixed": jnp.zeros(3)}
        with jax.numpy_dtype_promotion("standard"):
            updates, state = optimizer.update(gradients, state, params)
        return optax.apply_updates(params, updates), state

    state = jax.jit(optimizer.init)(params)
    for _ in range(num_steps):
        params, state = step(params, state)
    return params, state


def with_optimizer(**optimizer):
    """Returns a config with a section `optimizer`."""
    return parse({"optimizer": optimizer})


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_takes_steps(name):
    factors = {"score/bias": 0.5}
    config = with_optimizer(
        name=name, clip_norm=1.0, weight_decay=0.1, learning_rate_factors=factors
    )
    check_optimizer(config)
    schedule = optax.linear_schedule(0.1, 0.05, 3)
    optimizer = make_optimizer(config.optimizer, schedule, trainable)
    params, state = trained(optimizer)
    assert non_finite_paths((params, state)) == []
    np.testing.assert_array_equal(params["fixed"], PARAMS["fixed"])
    for part in ("embed", "score"):
        before, after = jax.tree.leaves(PARAMS[part]), jax.tree.leaves(params[part])
        assert all(np.any(a != b) for a, b in zip(before, after, strict=True))
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(state))


@pytest.mark.parametrize("name", ["keras_adam", "sgd", "adamw", "muon", "lion", "adafactor"])
def test_replicates_equal_single_trainings(name):
    optimizer = make_optimizer(OptimizerConfig(name=name), optax.constant_schedule(0.1), trainable)
    halved = jax.tree.map(lambda leaf: 0.5 * leaf, PARAMS)

    def train(params):
        return trained(optimizer, params=params)[0]

    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), PARAMS, halved)
    expected = jax.tree.map(lambda *leaves: jnp.stack(leaves), train(PARAMS), train(halved))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-5),
        jax.vmap(train)(stacked),
        expected,
    )


def test_updates_equal_those_of_optax():
    options = {"name": "sgd", "arguments": "momentum=0.9, nesterov=True"}
    config = OptimizerConfig.model_validate(options)
    optimizer = make_optimizer(config, optax.constant_schedule(0.1))
    expected = trained(optax.sgd(0.1, momentum=0.9, nesterov=True))[0]
    jax.tree.map(np.testing.assert_array_equal, trained(optimizer)[0], expected)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6),
        trained(
            make_optimizer(
                OptimizerConfig(name="adamw", weight_decay=0.3), optax.constant_schedule(0.1)
            )
        )[0],
        trained(optax.adamw(0.1, weight_decay=0.3))[0],
    )


def test_weight_decay_is_off_unless_it_is_set():
    optimizer = make_optimizer(OptimizerConfig(name="adamw"), optax.constant_schedule(0.1))
    jax.tree.map(np.testing.assert_array_equal, trained(optimizer)[0], trained(optax.adam(0.1))[0])


def test_optimizer_without_weight_decay_has_it_decoupled():
    schedule = optax.linear_schedule(0.2, 0.0, 4)
    options = OptimizerConfig(name="sgd", weight_decay=0.3)
    expected = optax.chain(optax.add_decayed_weights(0.3), optax.sgd(schedule))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5),
        trained(make_optimizer(options, schedule))[0],
        trained(expected)[0],
    )


def test_accumulation_takes_the_mean_gradient_and_counts_training_steps():
    options = OptimizerConfig(name="sgd", accumulation_steps=2)
    optimizer = make_optimizer(options, lambda step: 0.1 * (1.0 + step))
    params: Any = jnp.array([1.0])
    state = optimizer.init(params)
    values = []
    for gradient in (1.0, 3.0, 2.0, 4.0, 9.0):
        with jax.numpy_dtype_promotion("standard"):
            updates, state = optimizer.update(jnp.array([gradient]), state, params)
        params = optax.apply_updates(params, updates)
        values.append(float(params[0]))
    np.testing.assert_allclose(values, [1.0, 0.8, 0.8, 0.8 - 0.3 * 3, 0.8 - 0.3 * 3], rtol=1e-6)


def test_factors_scale_the_updates_of_matching_parts():
    plain = trained(optax.sgd(0.1), 1)[0]
    factors = {"embed": 0.0, "score": 0.5, ".*/bias": 0.1}
    options = OptimizerConfig(name="sgd", learning_rate_factors=factors)
    params = trained(make_optimizer(options, optax.constant_schedule(0.1)), 1)[0]
    np.testing.assert_array_equal(params["embed"]["embedding"], PARAMS["embed"]["embedding"])
    for name, factor in (("kernel", 0.5), ("bias", 0.05)):
        change = params["score"][name] - PARAMS["score"][name]
        expected = factor * (plain["score"][name] - PARAMS["score"][name])
        np.testing.assert_allclose(change, expected, rtol=1e-4, atol=1e-7)


def test_factor_without_parameter_is_refused():
    check_learning_rate_factors({"embed": 0.1, "score/(kernel|bias)": 2.0}, PARAMS)
    with pytest.raises(InputError, match=r"'kernel', which matches.*embed/embedding"):
        check_learning_rate_factors({"kernel": 0.1}, PARAMS)


@pytest.mark.parametrize("name", REFUSED)
def test_refused_optimizer_is_one_of_optax_and_has_a_reason(name):
    assert any(hasattr(module, name) for module in (optax.contrib, optax))
    assert name not in OPTIMIZERS
    with pytest.raises(InputError, match=f"'{name}', which cannot be used: .*Expected one of"):
        check_optimizer(with_optimizer(name=name))


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        ({"name": "adamv"}, "given 'adamv', did you mean .*adamw.*expected one of .*sgd"),
        ({"name": "chess"}, "given 'chess', expected one of"),
        ({"name": "sgd", "arguments": "momentun=0.9"}, "did you mean momentum.*it has momentum"),
        ({"arguments": "eps=1e-8"}, "keras_adam has no such argument.*it has b1, b2, epsilon"),
        ({"name": "adamw", "arguments": "weight_decay=0.1"}, "config.optimizer.weight_decay sets"),
        ({"name": "sgd", "arguments": "learning_rate=0.1"}, "config.learning_rate sets"),
        ({"name": "sgd", "arguments": "nesterov=1"}, "nesterov=1, expected a bool"),
        ({"name": "adam", "arguments": "b1=high"}, "b1='high', expected a number"),
        ({"name": "adam", "arguments": "mu_dtype=thin"}, "adam (refuses|fails).*thin"),
        ({"name": "muon", "arguments": "ns_coeffs=[1.0, 2.0]"}, "muon (refuses|fails)"),
        ({"learning_rate_factors": {"(": 0.1}}, "'\\(', expected a prefix"),
    ],
)
def test_mistakes_are_named(optimizer, message):
    with pytest.raises(InputError, match=message):
        check_optimizer(with_optimizer(**optimizer))


def test_constant_rate_is_required_where_there_is_no_schedule():
    assert [name for name in OPTIMIZERS if not accepts_schedule(OPTIMIZERS[name])] == [
        *("rprop", "sm3")
    ]
    config = parse({"optimizer": {"name": "rprop"}, "schedule": "linear"})
    with pytest.raises(InputError, match=r"'rprop'.*config.schedule='constant'"):
        check_optimizer(config)
