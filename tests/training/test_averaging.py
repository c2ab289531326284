"""The average of the parameters: what it is, and that it is what a run is judged and asked by."""

import jax
import numpy as np
import pytest

from rnnjax import training
from rnnjax.data.labelled_text import load_corpus, make_dataset
from rnnjax.tasks import ClassificationTask, classification_metrics
from rnnjax.training.optimizer import make_optimizer
from rnnjax.training.step import make_train_step

from .small import assert_same, lines, parse, saved, state_of

pytest_plugins = ["training.small"]


def test_it_follows_the_parameters_at_a_pace_that_falls_to_what_was_asked(news):
    config = parse(news, averaging__decay=0.3, model__dropout=0.3, model__cell="EchoStateCell")
    dataset = make_dataset(config, load_corpus(config.data))
    task = ClassificationTask.of(config, len(dataset.vocabulary), dataset.describe())
    step = make_train_step(task, make_optimizer(config, 8, task.trained), [3], decay=0.3)
    state = state_of(config)
    first = expected = jax.device_get(state.params)
    for decay in (2 / 11, 3 / 12, 0.3, 0.3, 0.3):
        state = step(state, dataset.train.batch_group_at(3, state.done, 1))
        expected = jax.tree.map(
            lambda old, new, decay=decay: decay * old + (1 - decay) * np.asarray(new),
            expected,
            state.params,
        )
        jax.tree.map(
            lambda ours, theirs: np.testing.assert_allclose(ours, theirs, atol=1e-6),
            state.average,
            expected,
        )
    # What training does not change, a reservoir and words that do not occur, is not even rounded.
    still = jax.tree.map(lambda new, old: np.asarray(new) == old, state.params, first)
    for names in (("embed", "embedding"), ("recurrent", "layers_0", "cell", "recurrent_kernel")):
        average, kept, old = state.average, still, first
        for name in names:
            average, kept, old = average[name], kept[name], old[name]
        assert kept.any()
        np.testing.assert_array_equal(np.asarray(average)[kept], old[kept])


def loss_of(asked, dataset, config):
    texts = dataset.corpus.splits["test"].texts(config.data.text, np.arange(61))
    labels = dataset.test.labels
    return classification_metrics.summary(labels, asked.evaluate(texts, labels))["loss"]


@pytest.mark.parametrize("patience", [0, 50], ids=["last", "best"])
def test_it_is_what_a_run_is_judged_and_asked_by(news, tmp_path, patience):
    config = parse(
        news,
        averaging__decay=0.9,
        data__validation=0.2,
        data__buckets=1,
        early_stopping__patience=patience,
    )
    result = training.train(config, "small", tmp_path)
    state, asked = saved(config, tmp_path), training.TrainedClassifier.load(tmp_path)
    # The loss still falls, so that the best is the last.
    assert_same(asked.params, state.average)
    if patience:
        assert state.best is not None
        assert_same(state.best.params, state.average)
    (*_, last) = [line for line in lines(tmp_path) if line["split"] == "validation"]
    assert last["loss"] == result["validation"]["loss"]
    dataset = make_dataset(config, load_corpus(config.data))
    assert loss_of(asked, dataset, config) == pytest.approx(result["test"]["loss"], rel=1e-5)
    object.__setattr__(asked, "params", state.params)
    assert loss_of(asked, dataset, config) != pytest.approx(result["test"]["loss"], rel=1e-3)
