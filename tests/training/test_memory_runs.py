"""Runs on synthetic problems of long memory: learning, resumption, replicates and report."""

from pathlib import Path

import jax
import numpy as np
import pytest

from rnnjax import training
from rnnjax.errors import InputError

from .small_runs import (
    assert_trees_equal,
    make_config,
    read_json,
    read_metrics,
    train,
    train_until_killed,
)

PARITY_CONFIG = {
    "task": "memory",
    "seed": 3,
    "epochs": 3,
    "batch_size": 16,
    "learning_rate": 0.02,
    "log_every": 10,
    "data": {"validation": 0.05},
    "memory": {
        "problem": "parity",
        "length": 3,
        "min_length": 2,
        "test_length": 5,
        "examples": 1_000,
        "test_examples": 200,
    },
    "model": {"cell": "LSTMCell", "features": 8},
    "checkpoint": {"every": 20},
}


def parity_config(**overrides):
    return make_config(PARITY_CONFIG, **overrides)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """The folder of a finished run."""
    workdir = tmp_path_factory.mktemp("runs") / "parity"
    train(parity_config(), workdir, "parity")
    return workdir


def test_parity_is_learned_and_generalizes_to_longer_sequences(finished):
    result = read_json(finished / "result.json")
    assert result["validation"]["accuracy"] == 1
    test = result["test"]
    assert test["accuracy"] > 0.9
    assert test["loss"] < test["baseline"] / 2
    assert test["baseline"] == np.log(2)
    assert test["rows"] == 200
    assert result["compilations"] == {"train": 1, "evaluate": 2}
    assert abs(read_metrics(finished)[0]["loss"] - np.log(2)) < 0.1


def test_report_has_the_baseline_and_no_vocabulary(finished):
    page = (finished / "report.html").read_text()
    assert "without memory the minimum is\n        0.6931" in page
    assert "minimum without memory" in page
    assert "<figcaption>Loss</figcaption>" in page
    assert "rnnjax.predict" not in page
    assert not (finished / "tokenizer.json").exists()
    assert "tokenizer.json" not in page


@pytest.mark.parametrize(
    "changes", [{"steps_per_call": 3}, {"early_stopping__patience": 9, "averaging__decay": 0.9}]
)
def test_resumed_run_equals_uninterrupted_run(tmp_path, changes):
    config = parity_config(memory__examples=200, checkpoint__every=8, model__dropout=0.2, **changes)
    expected, resumed = tmp_path / "expected", tmp_path / "resumed"
    train(config, expected)
    train_until_killed(config, resumed, 21)
    train(config, resumed)
    assert_trees_equal(training.load_run(resumed).params, training.load_run(expected).params)
    assert read_metrics(resumed) == read_metrics(expected)


def test_replicate_equals_the_run_of_its_seed(tmp_path):
    changes = {"memory__examples": 200, "epochs": 1}
    train(parity_config(replicates=2, **changes), tmp_path / "replicates")
    train(parity_config(seed=4, **changes), tmp_path / "single")
    params, expected = (
        training.load_run(path).params
        for path in (tmp_path / "replicates" / "seed-4", tmp_path / "single")
    )
    for leaf, expected_leaf in zip(jax.tree.leaves(params), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(leaf, expected_leaf, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        (lambda run: run.predict(["a"]), "answers neither texts nor files"),
        (lambda run: run.predict(Path("a.npz")), "answers neither texts nor files"),
        (lambda run: run.evaluate(Path("a.csv")), "reads no files, and a.csv was given"),
        (lambda run: run.generate("a", 3), "generates no text"),
        (lambda run: run.translate(["a"]), "translates no text"),
        (lambda run: run.stream(), "has no output after each token of a text"),
        (lambda run: run.inspect(["a"]), "reads no text"),
    ],
)
def test_queries_are_refused(finished, query, reason):
    with pytest.raises(InputError) as error:
        query(training.load_run(finished))
    assert str(error.value) == f"{finished} holds a run of the task 'memory', which {reason}"


def test_invalid_length_is_refused_before_anything_is_written(tmp_path):
    config = parity_config(memory__problem="adding", memory__test_length=1)
    with pytest.raises(InputError, match=r"test_length: given 1, and 'adding' needs at least 2"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
