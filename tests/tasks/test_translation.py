"""The task of translation: what its loss counts, and what it reads while it learns."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.config import parse
from rnnjax.data.translation_pairs import TranslationBatch
from rnnjax.data.vocabulary import END
from rnnjax.tasks import TranslationTask
from rnnjax.tasks.token_metrics import mean_token_metrics, token_sums

VALUES: dict[str, Any] = {
    "task": "translation",
    "model": {"cell": "GRUCell", "features": 5, "embedding": {"features": 4}},
}
KNOWN = 9


def task_of(translation=(), **model) -> TranslationTask:
    """Returns a small task."""
    changed = {"translation": dict(translation), "model": {**VALUES["model"], **model}}
    return TranslationTask.from_config(parse({**VALUES, **changed}), KNOWN, {"longest": 4})


def batch_of(seed=0, lengths=(3, 5, 2)) -> TranslationBatch:
    """Returns pairs whose targets have so many places."""
    draw = np.random.default_rng(seed)
    source = draw.integers(3, KNOWN, (len(lengths), 6)).astype(np.int32)
    mask = np.arange(5) < np.array(lengths)[:, None]
    written = np.where(mask, draw.integers(3, KNOWN, mask.shape), 0).astype(np.int32)
    inputs = np.concatenate([np.full((len(lengths), 1), END), written[:, :-1]], axis=1)
    inputs = np.where(mask, inputs, 0).astype(np.int32)
    source_mask = np.arange(6) < np.array([4, 6, 1])[: len(lengths), None]
    return TranslationBatch(source, source_mask, inputs, written, mask.astype(np.float32))


def params_of(task):
    """Returns random parameters, biases included."""
    draw = np.random.default_rng(1)
    shapes = jax.eval_shape(task.init, jax.random.key(0))
    return jax.tree.map(lambda leaf: draw.standard_normal(leaf.shape).astype(leaf.dtype), shapes)


def log_probabilities(task, params, batch):
    """Returns those of each token at each place."""
    given = batch.source, batch.source_mask, batch.inputs, batch.weights > 0
    logits = task.model.apply({"params": params}, *given)
    assert isinstance(logits, jax.Array)
    return jax.nn.log_softmax(logits)


@functools.cache
def compiled(task):
    """Returns the loss of a task, compiled once for all calls."""
    return jax.jit(task.loss)


def loss_of(task, params, batch, carry=None, seed=0):
    """Returns loss, sums and what is handed on."""
    loss, (sums, carry) = compiled(task)(params, batch, carry, jax.random.key(seed))
    return float(loss), {name: float(value) for name, value in sums.items()}, carry


def test_the_loss_is_a_mean_over_the_tokens_that_are_to_be_written():
    task, batch = task_of(), batch_of()
    params = params_of(task)
    logs = np.asarray(log_probabilities(task, params, batch))
    rows, places = np.nonzero(batch.weights)
    expected = -logs[rows, places, batch.targets[rows, places]].mean()
    loss, sums, carry = loss_of(task, params, batch)
    assert loss == pytest.approx(expected, rel=1e-5)
    assert sums["weight"] == 10
    assert sums["loss"] == pytest.approx(10 * expected, rel=1e-5)
    hits = logs.argmax(axis=-1) == batch.targets
    assert sums["accuracy"] == (hits * batch.weights).sum()
    assert carry is None
    answer, _ = task.evaluate_batch(params, batch, None)
    assert float(answer["loss"]) == pytest.approx(sums["loss"], rel=1e-5)


def test_sums_leave_padding_out_and_scores_are_by_token():
    logits = jnp.array([[[0.0, 9.0], [9.0, 0.0], [9.0, 0.0]]])
    sums = token_sums(logits, np.array([[1, 1, 0]]), np.array([[1.0, 1.0, 0.0]]))
    assert (float(sums["accuracy"]), float(sums["weight"])) == (1, 2)
    scores, tokens = mean_token_metrics([{"loss": 3.0, "accuracy": 1.0, "weight": 2.0}] * 2)
    expected = {"loss": 1.5, "accuracy": 0.5, "bits": 1.5 * np.log2(np.e), "perplexity": np.e**1.5}
    assert scores == pytest.approx(expected)
    assert tokens == 4


def test_smoothing_changes_the_loss_and_nothing_that_is_reported():
    plain, smooth, batch = task_of(), task_of({"label_smoothing": 0.3}), batch_of()
    params = params_of(plain)
    logs = np.asarray(log_probabilities(plain, params, batch))
    target = 0.7 * np.eye(KNOWN)[batch.targets] + 0.3 / KNOWN
    expected = -((target * logs).sum(axis=-1) * batch.weights).sum() / batch.weights.sum()
    (_, sums, _), (loss, theirs, _) = (loss_of(each, params, batch) for each in (plain, smooth))
    assert loss == pytest.approx(expected, rel=1e-5)
    assert sums == theirs


def test_rows_that_weigh_nothing_do_not_count():
    task = task_of()
    params, batch = params_of(task), batch_of()
    filled = batch._replace(weights=batch.weights * np.array([[1], [1], [0]], np.float32))
    alone = TranslationBatch(*(each[:2] for each in batch))
    assert loss_of(task, params, filled)[0] == pytest.approx(loss_of(task, params, alone)[0])


def test_the_share_of_own_tokens_that_are_read_rises_with_the_batches():
    task = task_of({"scheduled_sampling": 1.0, "scheduled_sampling_steps": 4})
    params, batch = params_of(task), batch_of()
    given, (fed, *_) = loss_of(task_of(), params, batch)[0], loss_of(task, params, batch, 4)
    rare = task_of({"scheduled_sampling": 1e-9, "scheduled_sampling_steps": 4})
    assert loss_of(rare, params, batch, 9)[0] == pytest.approx(given, rel=1e-5)
    begun, _, after = loss_of(task, params, batch, task.initial_carry(3))
    assert begun == pytest.approx(given, rel=1e-5)
    assert int(after) == 1
    assert fed != pytest.approx(given, rel=1e-3)
    assert loss_of(task, params, batch, 9, seed=1)[0] == pytest.approx(fed, rel=1e-5)
    between = {round(loss_of(task, params, batch, 2, seed=seed)[0], 5) for seed in range(6)}
    assert len(between) > 1


def test_dropout_is_drawn_in_training_alone():
    task = task_of(dropout=0.5)
    params, batch = params_of(task), batch_of()
    assert len({loss_of(task, params, batch, seed=seed)[0] for seed in range(3)}) == 3
    (answer, _), (calm, _) = (
        each.evaluate_batch(params, batch, None) for each in (task, task_of())
    )
    assert float(answer["loss"]) == float(calm["loss"])


def test_the_network_is_the_one_that_a_config_asks_for():
    task = task_of({"attention": "additive", "input_feeding": True}, layers=2, dropout=0.5)
    model = task.model
    assert (model.attention, model.input_feeding, model.tied) == ("additive", True, False)
    assert (model.encoder_layers, model.decoder_layers, model.dropout) == (2, 2, 0.5)
    # A half of 5 features is 3, not 2.
    assert (model.encoder_cell.features, model.decoder_cell.features) == (3, 5)
    tied = task_of(embedding={"features": 4, "tied": True})
    assert (tied.model.embedding, tied.model.tied, tied.model.input_feeding) == (4, True, False)
    assert (tied.model.vocabulary, tied.max_length) == (KNOWN, 5)  # the end has room


def test_what_a_cell_freezes_is_not_trained():
    task = task_of(cell="EchoStateCell", layers=2)
    trained = task.trainable_mask(jax.eval_shape(task.init, jax.random.key(0)))
    leaves = jax.tree_util.tree_leaves_with_path(trained)
    frozen = {jax.tree_util.keystr(path[:1], simple=True) for path, may in leaves if not may}
    assert frozen == {"encoder", "first", "rest"}
    assert all(jax.tree.leaves(task_of().trainable_mask(params_of(task_of()))))
