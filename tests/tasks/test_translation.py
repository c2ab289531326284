"""The translation task: loss, label smoothing, scheduled sampling."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.config import parse
from rnnjax.data.pairs import PairBatch
from rnnjax.data.vocabulary import END
from rnnjax.tasks.token_metrics import mean_token_metrics, token_sums
from rnnjax.tasks.translation.task import TranslationTask

VALUES: dict[str, Any] = {
    "task": "translation",
    "model": {"cell": "GRUCell", "features": 5, "embedding": {"features": 4}},
}
VOCAB_SIZE = 9


def make_task(translation=(), **model) -> TranslationTask:
    """Returns a small task."""
    overrides = {"translation": dict(translation), "model": {**VALUES["model"], **model}}
    return TranslationTask.from_config(parse({**VALUES, **overrides}), VOCAB_SIZE, {"longest": 4})


def make_batch(seed=0, lengths=(3, 5, 2)) -> PairBatch:
    """Returns pairs with targets of given lengths."""
    draw = np.random.default_rng(seed)
    source = draw.integers(3, VOCAB_SIZE, (len(lengths), 6)).astype(np.int32)
    mask = np.arange(5) < np.array(lengths)[:, None]
    targets = np.where(mask, draw.integers(3, VOCAB_SIZE, mask.shape), 0).astype(np.int32)
    inputs = np.concatenate([np.full((len(lengths), 1), END), targets[:, :-1]], axis=1)
    inputs = np.where(mask, inputs, 0).astype(np.int32)
    source_mask = np.arange(6) < np.array([4, 6, 1])[: len(lengths), None]
    return PairBatch(source, source_mask, inputs, targets, mask.astype(np.float32))


def random_params(task):
    """Returns random parameters, biases included."""
    draw = np.random.default_rng(1)
    shapes = jax.eval_shape(task.init, jax.random.key(0))
    return jax.tree.map(lambda leaf: draw.standard_normal(leaf.shape).astype(leaf.dtype), shapes)


def log_probabilities(task, params, batch):
    """Returns the log-probabilities of all tokens at each step."""
    inputs = batch.source, batch.source_mask, batch.inputs, batch.weights > 0
    logits = task.model.apply({"params": params}, *inputs)
    assert isinstance(logits, jax.Array)
    return jax.nn.log_softmax(logits)


@functools.cache
def compiled_loss(task):
    """Returns the compiled loss of a task."""
    return jax.jit(task.loss)


def compute_loss(task, params, batch, carry=None, seed=0):
    """Returns loss, sums and carry."""
    loss, (sums, carry) = compiled_loss(task)(params, batch, carry, jax.random.key(seed))
    return float(loss), {name: float(value) for name, value in sums.items()}, carry


def test_loss_is_a_mean_over_target_tokens():
    task, batch = make_task(), make_batch()
    params = random_params(task)
    logs = np.asarray(log_probabilities(task, params, batch))
    rows, steps = np.nonzero(batch.weights)
    expected = -logs[rows, steps, batch.targets[rows, steps]].mean()
    loss, sums, carry = compute_loss(task, params, batch)
    assert loss == pytest.approx(expected, rel=1e-5)
    assert sums["weight"] == 10
    assert sums["loss"] == pytest.approx(10 * expected, rel=1e-5)
    hits = logs.argmax(axis=-1) == batch.targets
    assert sums["accuracy"] == (hits * batch.weights).sum()
    assert carry is None
    outputs, _ = task.evaluate_batch(params, batch, None)
    assert float(outputs["loss"]) == pytest.approx(sums["loss"], rel=1e-5)


def test_metrics_ignore_padding():
    logits = jnp.array([[[0.0, 9.0], [9.0, 0.0], [9.0, 0.0]]])
    sums = token_sums(logits, np.array([[1, 1, 0]]), np.array([[1.0, 1.0, 0.0]]))
    assert (float(sums["accuracy"]), float(sums["weight"])) == (1, 2)
    scores, tokens = mean_token_metrics([{"loss": 3.0, "accuracy": 1.0, "weight": 2.0}] * 2)
    expected = {"loss": 1.5, "accuracy": 0.5, "bits": 1.5 * np.log2(np.e), "perplexity": np.e**1.5}
    assert scores == pytest.approx(expected)
    assert tokens == 4


def test_label_smoothing_changes_only_the_loss():
    plain, smooth, batch = make_task(), make_task({"label_smoothing": 0.3}), make_batch()
    params = random_params(plain)
    logs = np.asarray(log_probabilities(plain, params, batch))
    target = 0.7 * np.eye(VOCAB_SIZE)[batch.targets] + 0.3 / VOCAB_SIZE
    expected = -((target * logs).sum(axis=-1) * batch.weights).sum() / batch.weights.sum()
    (_, sums, _), (loss, smooth_sums, _) = (
        compute_loss(task, params, batch) for task in (plain, smooth)
    )
    assert loss == pytest.approx(expected, rel=1e-5)
    assert sums == smooth_sums


def test_rows_of_weight_zero_do_not_count():
    task = make_task()
    params, batch = random_params(task), make_batch()
    filled = batch._replace(weights=batch.weights * np.array([[1], [1], [0]], np.float32))
    unfilled = PairBatch(*(values[:2] for values in batch))
    assert compute_loss(task, params, filled)[0] == pytest.approx(
        compute_loss(task, params, unfilled)[0]
    )


def test_scheduled_sampling_rate_rises_with_the_steps():
    task = make_task({"scheduled_sampling": 1.0, "scheduled_sampling_steps": 4})
    params, batch = random_params(task), make_batch()
    teacher_forced, (sampled, *_) = (
        compute_loss(make_task(), params, batch)[0],
        compute_loss(task, params, batch, 4),
    )
    rare = make_task({"scheduled_sampling": 1e-9, "scheduled_sampling_steps": 4})
    assert compute_loss(rare, params, batch, 9)[0] == pytest.approx(teacher_forced, rel=1e-5)
    initial, _, carry = compute_loss(task, params, batch, task.initial_carry(3))
    assert initial == pytest.approx(teacher_forced, rel=1e-5)
    assert int(carry) == 1
    assert sampled != pytest.approx(teacher_forced, rel=1e-3)
    assert compute_loss(task, params, batch, 9, seed=1)[0] == pytest.approx(sampled, rel=1e-5)
    halfway = {round(compute_loss(task, params, batch, 2, seed=seed)[0], 5) for seed in range(6)}
    assert len(halfway) > 1


def test_dropout_is_off_in_evaluation():
    task = make_task(dropout=0.5)
    params, batch = random_params(task), make_batch()
    assert len({compute_loss(task, params, batch, seed=seed)[0] for seed in range(3)}) == 3
    (outputs, _), (outputs_without_dropout, _) = (
        evaluated.evaluate_batch(params, batch, None) for evaluated in (task, make_task())
    )
    assert float(outputs["loss"]) == float(outputs_without_dropout["loss"])


def test_config_sets_the_attributes_of_the_network():
    task = make_task({"attention": "additive", "input_feeding": True}, layers=2, dropout=0.5)
    model = task.model
    assert (model.attention, model.input_feeding, model.tied) == ("additive", True, False)
    assert (model.encoder_layers, model.decoder_layers, model.dropout) == (2, 2, 0.5)
    # A half of 5 features is 3, not 2.
    assert (model.encoder_cell.features, model.decoder_cell.features) == (3, 5)
    tied = make_task(embedding={"features": 4, "tied": True})
    assert (tied.model.embedding, tied.model.tied, tied.model.input_feeding) == (4, True, False)
    assert (tied.model.vocabulary, tied.max_length) == (VOCAB_SIZE, 5)  # the end has room


def test_frozen_parameters_are_not_trainable():
    task = make_task(cell="EchoStateCell", layers=2)
    trainable = task.trainable_mask(jax.eval_shape(task.init, jax.random.key(0)))
    leaves = jax.tree_util.tree_leaves_with_path(trainable)
    frozen = {
        jax.tree_util.keystr(path[:1], simple=True)
        for path, is_trainable in leaves
        if not is_trainable
    }
    assert frozen == {"encoder", "first", "rest"}
    assert all(jax.tree.leaves(make_task().trainable_mask(random_params(make_task()))))
