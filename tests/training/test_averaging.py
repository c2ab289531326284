"""The moving average of the parameters: its values, and its use in evaluation."""

import dataclasses

import jax
import numpy as np
import pytest

from rnnjax import training
from rnnjax.tasks.classification import metrics as classification_metrics

from .small_runs import (
    assert_trees_equal,
    initial_state,
    make_dataset_and_task,
    news_config,
    read_metrics,
    restore_state,
    train,
    train_step,
)


def test_average_follows_parameters_with_warmed_up_decay(news):
    config = news_config(
        news, averaging__decay=0.3, model__dropout=0.3, model__cell="EchoStateCell"
    )
    dataset, task = make_dataset_and_task(config)
    step = train_step(config, task, num_steps=8)
    state = initial_state(config)
    initial = expected = jax.device_get(state.params)
    for decay in (2 / 11, 3 / 12, 0.3, 0.3, 0.3):
        state = step(state, dataset.train.batch_group_at(3, state.num_steps, 1))
        expected = jax.tree.map(
            lambda old, new, decay=decay: decay * old + (1 - decay) * np.asarray(new),
            expected,
            state.params,
        )
        jax.tree.map(
            lambda average, value: np.testing.assert_allclose(average, value, atol=1e-6),
            state.average,
            expected,
        )
    # Parameters that training does not change, a reservoir and absent words, keep every bit.
    unchanged = jax.tree.map(lambda new, old: np.asarray(new) == old, state.params, initial)
    for path in (("embed", "embedding"), ("recurrent", "layers_0", "cell", "recurrent_kernel")):
        average, mask, old = state.average, unchanged, initial
        for name in path:
            average, mask, old = average[name], mask[name], old[name]
        assert mask.any()
        np.testing.assert_array_equal(np.asarray(average)[mask], old[mask])


def score_test_split(run, dataset, config):
    texts = dataset.corpus.splits["test"].texts(config.data.text, np.arange(61))
    labels = dataset.test.targets
    return classification_metrics.compute_metrics(labels, run.log_probabilities(texts, labels))[
        "loss"
    ]


@pytest.mark.parametrize("patience", [0, 50], ids=["last", "best"])
def test_average_is_evaluated_and_loaded(news, tmp_path, patience):
    config = news_config(
        news,
        averaging__decay=0.9,
        data__validation=0.2,
        data__buckets=1,
        early_stopping__patience=patience,
    )
    result = train(config, tmp_path)
    state, run = restore_state(config, tmp_path), training.load_run(tmp_path)
    # The loss still falls, so that the best parameters are the last.
    assert_trees_equal(run.params, state.average)
    if patience:
        assert state.best is not None
        assert_trees_equal(state.best.params, state.average)
    validations = [line for line in read_metrics(tmp_path) if line["split"] == "validation"]
    assert validations[-1]["loss"] == result["validation"]["loss"]
    dataset, _ = make_dataset_and_task(config)
    loss = result["test"]["loss"]
    assert score_test_split(run, dataset, config) == pytest.approx(loss, rel=1e-5)
    unaveraged = dataclasses.replace(run, params=state.params)
    assert score_test_split(unaveraged, dataset, config) != pytest.approx(loss, rel=1e-3)
