"""The long memory task: loss, accuracy, masking."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.cells import CELLS, EchoStateCell, LSTMCell, make_cell
from rnnjax.config import parse
from rnnjax.errors import InputError
from rnnjax.models import SequenceModel
from rnnjax.tasks.memory import data as synthetic
from rnnjax.tasks.memory.problems import PROBLEMS
from rnnjax.tasks.memory.task import MemoryTask

NAMES = sorted(PROBLEMS)


def make_task(name, cell=None, **options):
    """Returns the task on a small network."""
    problem = PROBLEMS[name]
    model = SequenceModel(outputs=problem.classes or 1, cell=cell or LSTMCell(5), **options)
    return MemoryTask(model, problem, features=problem.features)


def test_run_name_is_that_of_the_problem():
    config = parse({"task": "memory", "memory": {"problem": "copy"}})
    assert MemoryTask.run_name(config, "adding") == "copy"
    assert MemoryTask.run_name(config, "copy") == "copy"
    assert MemoryTask.run_name(config, "mine") == "mine"


def test_throughput_counts_sequences():
    batch = make_split("copy", count=3, batch_size=4, shortest=9).batch_at(0, 0)
    assert np.count_nonzero(batch.weights) > 3
    assert (MemoryTask.throughput_unit, MemoryTask.count_examples(batch.weights)) == ("rows", 3)


def make_split(name, count=3, batch_size=3, shortest=4, longest=9):
    """Returns a few fixed examples of unlike lengths."""
    return synthetic.SyntheticSplit(PROBLEMS[name], count, batch_size, shortest, longest, stream=7)


def loss_of(task, params, batch):
    """Returns the loss of a batch and its sums."""
    loss, (sums, _) = task.loss(params, batch, None, jax.random.key(0))
    return loss, sums


@pytest.mark.parametrize("name", NAMES)
def test_masked_values_do_not_count(name):
    task, batch = make_task(name, layers=2), make_split(name, count=2).batch_at(0, 0)
    params = task.init(jax.random.key(1))
    assert not batch.mask.all()
    corrupted = batch._replace(
        inputs=np.where(batch.mask[..., None], batch.inputs, np.nan).astype(np.float32),
        targets=np.where(batch.mask, batch.targets, 1).astype(batch.targets.dtype),
    )
    gradient = jax.jit(jax.value_and_grad(lambda params, batch: loss_of(task, params, batch)[0]))
    jax.tree.map(
        np.testing.assert_array_equal, gradient(params, batch), gradient(params, corrupted)
    )
    # Filling rows do not count either: two of the three rows are examples.
    examples = jax.tree.map(lambda leaf: leaf[:2], batch)
    loss, sums = loss_of(task, params, batch)
    np.testing.assert_allclose(loss, loss_of(task, params, examples)[0], rtol=1e-6)
    assert sums["weight"] == examples.weights.sum()


@pytest.mark.parametrize("name", NAMES)
def test_padding_does_not_change_the_sums(name):
    task, batch = make_task(name), make_split(name).batch_at(0, 0)
    params = task.init(jax.random.key(1))

    def padded(leaf):
        return np.pad(leaf, [(0, 0), (0, 5), *[(0, 0)] * (leaf.ndim - 2)])

    sums, padded_sums = (
        task.evaluate_batch(params, inputs, None)[0]
        for inputs in (batch, jax.tree.map(padded, batch))
    )
    for key in sums:
        np.testing.assert_allclose(sums[key], padded_sums[key], rtol=1e-6)


class ConstantModel:
    """A network with constant outputs."""

    def __init__(self, answers):
        """Takes the outputs, [batch, time, features]."""
        self.answers = answers

    def apply(self, variables, inputs, mask, **options):
        """Returns the outputs."""
        return jnp.asarray(self.answers, jnp.float32)


def make_constant_task(name, answers):
    """Returns the task on a network with constant outputs."""
    model: Any = ConstantModel(answers)
    return MemoryTask(model, PROBLEMS[name], features=PROBLEMS[name].features)


def test_numbers_are_correct_within_a_tolerance():
    batch = make_split("adding", count=4, batch_size=4).batch_at(0, 0)
    off = np.array([0.0, 0.039, -0.041, 0.5])[:, None]
    task = make_constant_task("adding", (batch.targets + off)[..., None])
    loss, sums = loss_of(task, {}, batch)
    np.testing.assert_allclose(loss, np.mean(off**2), rtol=1e-4)
    assert sums["accuracy"] == 2
    assert sums["weight"] == 4


def test_copy_accuracy_is_over_the_symbols():
    split = make_split("copy", count=5, batch_size=2)
    outputs, num_steps = [], 0
    for step in range(split.steps_per_epoch):
        batch = split.batch_at(0, step)
        num_steps += batch.weights.sum()
        scores = 3.0 * np.eye(9)[batch.targets]
        last = batch.mask[0].nonzero()[0].max()
        scores[0, last] = np.roll(scores[0, last], 1)  # of the first row the last symbol is wrong
        task = make_constant_task("copy", scores)
        outputs.append(task.evaluate_batch({}, batch, None)[0])
    metrics = task.compute_metrics(split, outputs)
    assert metrics["accuracy"] == pytest.approx(1 - 3 / 50)
    assert metrics["rows"] == 5
    assert metrics["baseline"] == split.baseline
    sure = np.log(1 + 8 * np.exp(-3))
    assert metrics["loss"] == pytest.approx((sure * num_steps + 3 * 3.0) / num_steps, rel=1e-4)


def test_training_accuracy_is_over_the_symbols():
    batch = make_split("copy", count=2, batch_size=2, shortest=9).batch_at(0, 0)
    scores = np.eye(9)[np.where(batch.recalls, 8, batch.targets)]  # blanks alone
    _, sums = loss_of(make_constant_task("copy", scores), {}, batch)
    assert sums["accuracy"] == 0
    _, sums = loss_of(make_constant_task("copy", np.eye(9)[batch.targets]), {}, batch)
    assert sums["accuracy"] == sums["weight"] == 58


def test_dropout_is_off_in_evaluation():
    task = make_task("parity", dropout=0.5)
    batch = make_split("parity").batch_at(0, 0)
    params = task.init(jax.random.key(1))
    keys = [jax.random.key(number) for number in (0, 0, 1)]
    loss, repeated, redrawn = (float(task.loss(params, batch, None, key)[0]) for key in keys)
    assert loss == repeated != redrawn
    losses = [task.evaluate_batch(params, batch, None)[0]["loss"] for _ in range(2)]
    assert losses[0] == losses[1]


@pytest.mark.parametrize("name", sorted(CELLS))
def test_every_cell_fits_the_problems(name):
    if name == "ConvLSTMCell":
        pytest.skip("reads images, not vectors")
    task = make_task("adding", make_cell(name, 4))
    params = jax.eval_shape(task.init, jax.random.key(0))
    batch = make_split("adding").batch_at(0, 0)
    loss, _ = jax.eval_shape(lambda params: loss_of(task, params, batch), params)
    assert loss.shape == ()


def test_frozen_parameters_are_not_trainable():
    task = make_task("parity", EchoStateCell(5))
    params = task.init(jax.random.key(0))
    trainable = task.trainable_mask(params)
    assert set(params) == {"recurrent", "score"}
    assert all(jax.tree.leaves(trainable["score"]))
    assert not all(jax.tree.leaves(trainable["recurrent"]))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"data": {"take": 5}}, r"data\.take is 5, .* 'classification', 'language_modeling'"),
        ({"model": {"bidirectional": True}}, r"model\.bidirectional is True"),
        ({"model": {"embedding": {"features": 9}}}, r"model\.embedding\.features is 9"),
        ({"data": {"file": "x"}}, r"data\.file is 'x', which is read by the task 'classification'"),
    ],
)
def test_config_keys_of_other_tasks_raise(values, message):
    with pytest.raises(InputError, match=message):
        parse({"task": "memory", **values})


def test_other_tasks_refuse_memory_keys():
    with pytest.raises(InputError, match=r"config\.memory: is a key of the task 'memory'"):
        parse({"memory": {"length": 7}})
