"""A step follows from the seed and its number, and evaluation sees every example once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.data.batches import Batch, BatchGroup
from rnnjax.data.labelled_text import load_corpus, make_dataset
from rnnjax.tasks import ClassificationTask
from rnnjax.tasks.classification import in_order
from rnnjax.training.evaluation import predict_split
from rnnjax.training.optimizer import make_optimizer
from rnnjax.training.step import make_train_step

from .small import assert_same, parse, state_of

pytest_plugins = ["training.small"]


@pytest.fixture
def stepped(news):
    """A function that takes a step from the same state and batch; what was left is returned."""

    def stepped(rate, seed, number=0):
        config = parse(news, model__dropout=rate, data__take=16, model__cell="SimpleCell")
        dataset = make_dataset(config, load_corpus(config.data))
        task = ClassificationTask.of(config, len(dataset.vocabulary), dataset.describe())
        step = make_train_step(task, make_optimizer(config, 10, task.trained), [seed])
        state = state_of(config).replace(step=jnp.int32(number))
        state = step(state, dataset.train.batch_group_at(3, 0, 1))
        assert int(state.step) == number + 1
        return state.params

    return stepped


def same(ours, theirs):
    return all(map(np.array_equal, jax.tree.leaves(ours), jax.tree.leaves(theirs)))


def test_dropout_follows_from_seed_and_step(stepped):
    first = stepped(0.5, 1)
    assert_same(stepped(0.5, 1), first)
    assert not same(stepped(0.5, 2), first)
    assert not same(stepped(0.5, 1, number=1), first)
    assert same(stepped(0.0, 1), stepped(0.0, 2))


def test_how_a_training_is_cut_into_calls_changes_no_bit(news, several_lengths):
    config = parse(news, steps_per_call=4, data__buckets=2, model__dropout=0.3)
    config = config.model_copy(update={"warmup_steps": 2, "schedule": "cosine"})
    dataset = make_dataset(config, load_corpus(config.data))
    task = ClassificationTask.of(config, len(dataset.vocabulary), dataset.describe())
    step = make_train_step(task, make_optimizer(config, 20, task.trained), [3])

    def trained(*most):
        state, counts = state_of(config), []
        while sum(counts) < 12:
            here = min(most[len(counts) % len(most)], 12 - sum(counts))
            stack = dataset.train.batch_group_at(3, sum(counts), here)
            state = step(state, stack)
            counts.append(int(stack.count))
        assert int(state.step) == 12
        return state, counts

    whole, counts = trained(4)
    assert max(counts) == 4
    for most in ((1,), (3,), (2, 1, 4)):
        others, cut = trained(*most)
        assert cut != counts
        assert_same(others, whole)
    assert step.compilations == 2


def test_several_steps_a_call_are_the_steps_one_by_one(news, several_lengths):
    config = parse(news, steps_per_call=4, model__dropout=0.3, optimizer__clip_norm=0.5)
    dataset = make_dataset(config, load_corpus(config.data))
    task = ClassificationTask.of(config, len(dataset.vocabulary), dataset.describe())
    step = make_train_step(task, make_optimizer(config, 20, task.trained), [3])
    single = state = state_of(config)
    single = jax.tree.map(jnp.copy, single)
    while int(state.step) < 8:
        stack = dataset.train.batch_group_at(3, int(state.step), 8)
        for index in range(int(stack.count)):
            one = BatchGroup(Batch(*(each[index][None] for each in stack.batches)), np.int32(1))
            single = step(single, one)
        state = step(state, stack)
    for ours, theirs in zip(jax.tree.leaves(state), jax.tree.leaves(single), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


def test_a_new_seed_changes_parameters_and_order(news):
    one, other = parse(news), parse(news, seed=4)
    kernels = [state_of(config).params["score"]["kernel"] for config in (one, one, other)]
    np.testing.assert_array_equal(kernels[0], kernels[1])
    assert not np.array_equal(kernels[0], kernels[2])
    train = make_dataset(one, load_corpus(one.data)).train
    assert not np.array_equal(train.indices_at(3, 0), train.indices_at(4, 0))


@pytest.mark.parametrize("bucketing", [True, False])
def test_evaluation_answers_every_example_once_in_its_own_order(news, several_lengths, bucketing):
    config = parse(news, data__bucketing=bucketing)
    test = make_dataset(config, load_corpus(config.data)).test
    asked = []

    def step(state, batch):
        asked.append(int(batch.weights.sum()))
        return jnp.stack([batch.tokens.sum(1), batch.mask.sum(1), batch.labels], axis=1), state[1]

    task = ClassificationTask.of(config, 64, {"classes": "abcd"})
    asked_of = predict_split(task, step, None, test, "test")  # pyright: ignore[reportArgumentType]
    found = in_order(test, asked_of)
    sums = np.add.reduceat(np.append(test.sequences.tokens, 0), test.sequences.offsets[:-1])
    np.testing.assert_array_equal(found[:, 0], sums)
    np.testing.assert_array_equal(found[:, 1], test.sequences.lengths)
    np.testing.assert_array_equal(found[:, 2], test.labels)
    assert sum(asked) == len(found) == 61
