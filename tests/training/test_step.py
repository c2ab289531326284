"""The training step: a function of state, batch and seed, however steps are grouped into calls."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.data.batches import Batch, BatchGroup

from .small_runs import (
    assert_trees_equal,
    initial_state,
    make_dataset_and_task,
    news_config,
    train_step,
)


@pytest.fixture
def params_after_step(news):
    """A function that returns the parameters after a step from the same state and batch."""

    def params_after_step(dropout, seed, number=0):
        config = news_config(news, model__dropout=dropout, data__take=16, model__cell="SimpleCell")
        dataset, task = make_dataset_and_task(config)
        step = train_step(config, task, num_steps=10, seed=seed)
        state = initial_state(config).replace(step=jnp.int32(number))
        state = step(state, dataset.train.batch_group_at(3, 0, 1))
        assert int(state.step) == number + 1
        return state.params

    return params_after_step


def are_equal(actual, expected):
    return all(map(np.array_equal, jax.tree.leaves(actual), jax.tree.leaves(expected)))


def test_dropout_depends_on_seed_and_step(params_after_step):
    params = params_after_step(0.5, 1)
    assert_trees_equal(params_after_step(0.5, 1), params)
    assert not are_equal(params_after_step(0.5, 2), params)
    assert not are_equal(params_after_step(0.5, 1, number=1), params)
    assert are_equal(params_after_step(0.0, 1), params_after_step(0.0, 2))


def test_result_does_not_depend_on_steps_per_call(news, several_lengths):
    changes = {"warmup_steps": 2, "schedule": "cosine", "model__dropout": 0.3}
    config = news_config(news, steps_per_call=4, data__buckets=2, **changes)
    dataset, task = make_dataset_and_task(config)
    step = train_step(config, task, num_steps=20)

    def train_in_calls(*limits):
        state, counts = initial_state(config), []
        while sum(counts) < 12:
            limit = min(limits[len(counts) % len(limits)], 12 - sum(counts))
            group = dataset.train.batch_group_at(3, sum(counts), limit)
            state = step(state, group)
            counts.append(int(group.count))
        assert int(state.step) == 12
        return state, counts

    expected, expected_counts = train_in_calls(4)
    assert max(expected_counts) == 4
    for limits in ((1,), (3,), (2, 1, 4)):
        state, counts = train_in_calls(*limits)
        assert counts != expected_counts
        assert_trees_equal(state, expected)
    assert step.compilations == 2


def test_call_of_several_steps_equals_single_steps(news, several_lengths):
    config = news_config(news, steps_per_call=4, model__dropout=0.3, optimizer__clip_norm=0.5)
    dataset, task = make_dataset_and_task(config)
    step = train_step(config, task, num_steps=20)
    state = initial_state(config)
    single = jax.tree.map(jnp.copy, state)
    while int(state.step) < 8:
        group = dataset.train.batch_group_at(3, int(state.step), 8)
        for index in range(int(group.count)):
            batch = Batch(*(values[index][None] for values in group.batches))
            single = step(single, BatchGroup(batch, np.int32(1)))
        state = step(state, group)
    for leaf, expected in zip(jax.tree.leaves(state), jax.tree.leaves(single), strict=True):
        np.testing.assert_allclose(leaf, expected, rtol=1e-4, atol=1e-6)


def test_seed_changes_parameters_and_order(news):
    configs = news_config(news), news_config(news), news_config(news, seed=4)
    kernels = [initial_state(config).params["score"]["kernel"] for config in configs]
    np.testing.assert_array_equal(kernels[0], kernels[1])
    assert not np.array_equal(kernels[0], kernels[2])
    train = make_dataset_and_task(configs[0])[0].train
    assert not np.array_equal(train.indices_at(3, 0), train.indices_at(4, 0))
