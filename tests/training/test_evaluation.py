"""Evaluation: every example once, of the trained network, without effect on training."""

import shutil

import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.tasks.classification.task import ClassificationTask
from rnnjax.training.evaluation import predict_split

from .small_runs import (
    assert_trees_equal,
    make_dataset_and_task,
    news_config,
    read_metrics,
    restore_state,
    train,
    write_news,
)


@pytest.mark.parametrize("bucketing", [True, False])
def test_every_example_is_evaluated_once(news, several_lengths, bucketing):
    dataset, _ = make_dataset_and_task(news_config(news, data__bucketing=bucketing))
    test, batch_rows = dataset.test, []

    def step(state, batch):
        batch_rows.append(int(batch.weights.sum()))
        columns = batch.inputs.sum(1), batch.mask.sum(1), batch.targets
        return jnp.stack(columns, axis=1), state[1]

    task = ClassificationTask.from_config(news_config(news), 64, {"classes": "abcd"})
    batches = predict_split(task, step, None, test, "test")  # pyright: ignore[reportArgumentType]
    outputs = np.asarray(test.restore_order(batches))
    sums = np.add.reduceat(np.append(test.sequences.values, 0), test.sequences.offsets[:-1])
    np.testing.assert_array_equal(outputs[:, 0], sums)
    np.testing.assert_array_equal(outputs[:, 1], test.sequences.lengths)
    np.testing.assert_array_equal(outputs[:, 2], test.targets)
    assert sum(batch_rows) == len(outputs) == 61


def test_last_step_is_validated_and_evaluated_without_interval(news, tmp_path):
    changes = {"evaluate_every": 10**6, "epochs": 2, "learning_rate": 0.02}
    stopping = {"early_stopping__patience": 2, "data__validation": 0.2}
    result = train(news_config(news, **changes, **stopping), tmp_path)
    (validation,) = [line for line in read_metrics(tmp_path) if line["split"] == "validation"]
    assert validation["step"] == result["steps"]
    assert validation["loss"] == pytest.approx(result["validation"]["loss"], abs=1e-6)


def test_test_split_has_no_effect_on_training(news, tmp_path):
    changed_news = tmp_path / "news"
    changed_news.mkdir()
    shutil.copy(news / "train.csv", changed_news)
    write_news(changed_news / "test.csv", 40, seed=9)
    changes = {"evaluate_every": 3, "early_stopping__patience": 2, "data__validation": 0.2}
    configs = news_config(news, **changes), news_config(changed_news, **changes)
    workdirs = tmp_path / "first", tmp_path / "second"
    results = [train(*arguments) for arguments in zip(configs, workdirs, strict=True)]
    assert results[0]["test"]["rows"] != results[1]["test"]["rows"]
    assert_trees_equal(*map(restore_state, configs, workdirs))
    (test,) = [line for line in read_metrics(workdirs[0]) if line["split"] == "test"]
    assert test["step"] == results[0]["steps"]
