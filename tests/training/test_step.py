"""A step follows from the seed and its number, and evaluation sees every example once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.data.dataset import load_corpus, make_dataset
from rnnjax.tasks import Classification
from rnnjax.training.evaluation import answers
from rnnjax.training.optimizer import make_optimizer
from rnnjax.training.step import make_train_step

from .small import assert_same, parse, state_of

pytest_plugins = ["training.small"]


@pytest.fixture
def stepped(news):
    """A function that takes a step from the same state and batch; what was left is returned."""

    def stepped(rate, seed, number=0):
        config = parse(news, model__dropout=rate, data__take=16, model__cell="SimpleCell")
        dataset = make_dataset(config, load_corpus(config))
        task = Classification.of(config, len(dataset.vocabulary), 4)
        step = make_train_step(task, make_optimizer(config, 10), seed)
        state = state_of(config).replace(step=jnp.int32(number))
        state = step(state, dataset.train.batch_at(3, 0))
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


def test_a_new_seed_changes_parameters_and_order(news):
    one, other = parse(news), parse(news, seed=4)
    kernels = [state_of(config).params["score"]["kernel"] for config in (one, one, other)]
    np.testing.assert_array_equal(kernels[0], kernels[1])
    assert not np.array_equal(kernels[0], kernels[2])
    train = make_dataset(one, load_corpus(one)).train
    assert not np.array_equal(train.rows_at(3, 0), train.rows_at(4, 0))


@pytest.mark.parametrize("bucketing", [True, False])
def test_evaluation_answers_every_example_once_in_its_own_order(news, several_lengths, bucketing):
    config = parse(news, data__bucketing=bucketing)
    test = make_dataset(config, load_corpus(config)).test
    asked = []

    def step(params, batch):
        asked.append(int(batch.weights.sum()))
        return jnp.stack([batch.tokens.sum(1), batch.mask.sum(1), batch.labels], axis=1)

    found = answers(step, None, test, "test")  # pyright: ignore[reportArgumentType]
    sums = np.add.reduceat(np.append(test.sequences.tokens, 0), test.sequences.offsets[:-1])
    np.testing.assert_array_equal(found[:, 0], sums)
    np.testing.assert_array_equal(found[:, 1], test.sequences.lengths)
    np.testing.assert_array_equal(found[:, 2], test.labels)
    assert sum(asked) == len(found) == 61
