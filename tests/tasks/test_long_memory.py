"""The task of long memory: what counts, what is right, what leaves no trace."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.cells import CELLS, EchoStateCell, LSTMCell, make_cell
from rnnjax.config import parse
from rnnjax.data import synthetic
from rnnjax.data.synthetic_problems import PROBLEMS
from rnnjax.errors import InputError
from rnnjax.models import SequenceModel
from rnnjax.tasks import MemoryTask

NAMES = sorted(PROBLEMS)


def task_of(name, cell=None, **options):
    """Returns the task on a small network."""
    problem = PROBLEMS[name]
    model = SequenceModel(answers=problem.classes or 1, cell=cell or LSTMCell(5), **options)
    return MemoryTask(model, problem)


def test_a_run_is_called_after_its_problem_and_not_after_the_file_of_another():
    config = parse({"task": "memory", "data": {"memory": {"problem": "copy"}}})
    assert MemoryTask.run_name(config, "adding") == "copy"
    assert MemoryTask.run_name(config, "copy") == "copy"
    assert MemoryTask.run_name(config, "mine") == "mine"


def test_the_speed_counts_sequences_and_not_their_steps():
    batch = part_of("copy", count=3, batch_size=4, shortest=9).batch_at(0, 0)
    assert np.count_nonzero(batch.weights) > 3
    assert (MemoryTask.throughput_unit, MemoryTask.count_examples(batch.weights)) == ("rows", 3)


def part_of(name, count=3, batch_size=3, shortest=4, longest=9):
    """Returns a few fixed examples of unlike lengths."""
    return synthetic.SyntheticSplit(PROBLEMS[name], count, batch_size, shortest, longest, stream=7)


def loss_of(task, params, batch):
    """Returns the loss of a batch and its sums."""
    loss, (sums, _) = task.loss(params, batch, None, jax.random.key(0))
    return loss, sums


@pytest.mark.parametrize("name", NAMES)
def test_what_is_masked_leaves_no_trace(name):
    task, batch = task_of(name, layers=2), part_of(name, count=2).batch_at(0, 0)
    params = task.init(jax.random.key(1))
    assert not batch.mask.all()
    junk = batch._replace(
        inputs=np.where(batch.mask[..., None], batch.inputs, np.nan).astype(np.float32),
        targets=np.where(batch.mask, batch.targets, 1).astype(batch.targets.dtype),
    )
    gradient = jax.jit(jax.value_and_grad(lambda live, batch: loss_of(task, live, batch)[0]))
    jax.tree.map(np.testing.assert_array_equal, gradient(params, batch), gradient(params, junk))
    # Neither do rows that only fill the batch: two of the three rows are examples.
    kept = jax.tree.map(lambda leaf: leaf[:2], batch)
    loss, sums = loss_of(task, params, batch)
    np.testing.assert_allclose(loss, loss_of(task, params, kept)[0], rtol=1e-6)
    assert sums["weight"] == kept.weights.sum()


@pytest.mark.parametrize("name", NAMES)
def test_more_padding_changes_nothing(name):
    task, batch = task_of(name), part_of(name).batch_at(0, 0)
    params = task.init(jax.random.key(1))

    def padded(leaf):
        return np.pad(leaf, [(0, 0), (0, 5), *[(0, 0)] * (leaf.ndim - 2)])

    ours, theirs = (
        task.evaluate_batch(params, each, None)[0] for each in (batch, jax.tree.map(padded, batch))
    )
    for key in ours:
        np.testing.assert_allclose(ours[key], theirs[key], rtol=1e-6)


class Known:
    """A network that gives answers that are known beforehand."""

    def __init__(self, answers):
        """Takes the answers, [batch, time, answers]."""
        self.answers = answers

    def apply(self, variables, inputs, mask, **options):
        """Returns them."""
        return jnp.asarray(self.answers, jnp.float32)


def knowing(name, answers):
    """Returns the task on a network that gives these answers."""
    model: Any = Known(answers)
    return MemoryTask(model, PROBLEMS[name])


def test_numbers_are_right_within_a_distance():
    batch = part_of("adding", count=4, batch_size=4).batch_at(0, 0)
    off = np.array([0.0, 0.039, -0.041, 0.5])[:, None]
    task = knowing("adding", (batch.targets + off)[..., None])
    loss, sums = loss_of(task, {}, batch)
    np.testing.assert_allclose(loss, np.mean(off**2), rtol=1e-4)
    assert sums["accuracy"] == 2
    assert sums["weight"] == 4


def test_the_accuracy_of_copying_is_that_of_the_symbols():
    part = part_of("copy", count=5, batch_size=2)
    answers, whole = [], 0
    for step in range(part.steps_per_epoch):
        batch = part.batch_at(0, step)
        whole += batch.weights.sum()
        scores = 3.0 * np.eye(9)[batch.targets]
        last = batch.mask[0].nonzero()[0].max()
        scores[0, last] = np.roll(scores[0, last], 1)  # of the first row the last symbol is wrong
        task = knowing("copy", scores)
        answers.append(task.evaluate_batch({}, batch, None)[0])
    found = task.compute_metrics(part, answers)
    assert found["accuracy"] == pytest.approx(1 - 3 / 50)
    assert found["rows"] == 5
    assert found["baseline"] == part.baseline
    sure = np.log(1 + 8 * np.exp(-3))
    assert found["loss"] == pytest.approx((sure * whole + 3 * 3.0) / whole, rel=1e-4)


def test_in_training_the_accuracy_is_of_the_symbols_as_well():
    batch = part_of("copy", count=2, batch_size=2, shortest=9).batch_at(0, 0)
    scores = np.eye(9)[np.where(batch.recalls, 8, batch.targets)]  # blanks alone
    _, sums = loss_of(knowing("copy", scores), {}, batch)
    assert sums["accuracy"] == 0
    _, sums = loss_of(knowing("copy", np.eye(9)[batch.targets]), {}, batch)
    assert sums["accuracy"] == sums["weight"] == 58


def test_dropout_draws_in_training_alone():
    task = task_of("parity", dropout=0.5)
    batch = part_of("parity").batch_at(0, 0)
    params = task.init(jax.random.key(1))
    keys = [jax.random.key(number) for number in (0, 0, 1)]
    one, same, other = (float(task.loss(params, batch, None, key)[0]) for key in keys)
    assert one == same != other
    answers = [task.evaluate_batch(params, batch, None)[0]["loss"] for _ in range(2)]
    assert answers[0] == answers[1]


@pytest.mark.parametrize("name", sorted(CELLS))
def test_every_cell_reads_the_problems(name):
    if name == "ConvLSTMCell":
        pytest.skip("reads images, not vectors")
    task = task_of("adding", make_cell(name, 4))
    params = jax.eval_shape(task.init, jax.random.key(0))
    batch = part_of("adding").batch_at(0, 0)
    loss, _ = jax.eval_shape(lambda live: loss_of(task, live, batch), params)
    assert loss.shape == ()


def test_what_a_cell_freezes_is_not_trained():
    task = task_of("parity", EchoStateCell(5))
    params = task.init(jax.random.key(0))
    trained = task.trainable_mask(params)
    assert set(params) == {"recurrent", "score"}
    assert all(jax.tree.leaves(trained["score"]))
    assert not all(jax.tree.leaves(trained["recurrent"]))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"data": {"take": 5}}, r"data\.take is 5, .* 'classification' and 'language_modeling'"),
        ({"model": {"bidirectional": True}}, r"model\.bidirectional is True"),
        ({"model": {"embedding": {"features": 9}}}, r"model\.embedding\.features is 9"),
        ({"data": {"file": "x"}}, r"data\.file is 'x', which is read by the task 'language_mod"),
    ],
)
def test_what_the_task_does_not_read_is_refused(values, message):
    with pytest.raises(InputError, match=message):
        parse({"task": "memory", **values})


def test_what_other_tasks_do_not_read_is_refused():
    with pytest.raises(InputError, match=r"data\.memory\.length is 7, .* set task='memory'"):
        parse({"data": {"memory": {"length": 7}}})
