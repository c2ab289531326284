"""Runs on problems of long memory: through the one loop, learned, resumed exactly, reported."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest

from rnnjax import config as schema
from rnnjax import training
from rnnjax.errors import InputError
from rnnjax.interrupt import InterruptedRunError
from rnnjax.training import loop

from .small import assert_same, changed, lines

PARITY = {
    "task": "memory",
    "seed": 3,
    "epochs": 3,
    "batch_size": 16,
    "learning_rate": 0.02,
    "log_every": 10,
    "data": {
        "validation": 0.05,
        "memory": {
            "problem": "parity",
            "length": 3,
            "min_length": 2,
            "test_length": 5,
            "examples": 1_000,
            "test_examples": 200,
        },
    },
    "model": {"cell": "LSTMCell", "features": 8},
    "checkpoint": {"every": 20},
}


def parse(**changes) -> schema.Config:
    """Returns the small config; `model__layers=2` sets model.layers."""
    return changed(PARITY, **changes)


def run(config: schema.Config, workdir: Path) -> dict:
    """Returns the result of a run."""
    return training.train(config, "parity", workdir, "python -m rnnjax.main --config=parity.py")


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """The folder of a finished run."""
    workdir = tmp_path_factory.mktemp("runs") / "parity"
    run(parse(), workdir)
    return workdir


def test_parity_is_learned_and_holds_for_longer_sequences(finished):
    result = json.loads((finished / "result.json").read_text())
    assert result["validation"]["accuracy"] == 1
    test = result["test"]
    assert test["accuracy"] > 0.9
    assert test["loss"] < test["baseline"] / 2
    assert test["baseline"] == np.log(2)
    assert test["rows"] == 200
    assert result["compilations"] == {"train": 1, "evaluate": 2}
    assert abs(lines(finished)[0]["loss"] - np.log(2)) < 0.1


def test_a_run_leaves_a_report_and_no_vocabulary(finished):
    page = (finished / "report.html").read_text()
    assert "without memory the best answer has\n        0.6931" in page
    assert "the best without memory" in page
    assert "<figcaption>Loss</figcaption>" in page
    assert "rnnjax.predict" not in page
    assert not (finished / "tokenizer.json").exists()
    assert "tokenizer.json" not in page


@pytest.mark.parametrize(
    "changes", [{"steps_per_call": 3}, {"early_stopping__patience": 9, "averaging__decay": 0.9}]
)
def test_a_run_taken_up_again_ends_as_one_that_was_not_stopped(tmp_path, changes, monkeypatch):
    config = parse(data__memory__examples=200, checkpoint__every=8, model__dropout=0.2, **changes)
    run(config, tmp_path / "whole")
    real = loop.batch_group_at

    def stopping(members, step, most):
        if step >= 21:
            raise KeyboardInterrupt
        return real(members, step, most)

    monkeypatch.setattr(loop, "batch_group_at", stopping)
    with pytest.raises((KeyboardInterrupt, InterruptedRunError)):
        run(config, tmp_path / "cut")
    monkeypatch.undo()
    run(config, tmp_path / "cut")
    whole, cut = (training.load_run(tmp_path / name).params for name in ("whole", "cut"))
    assert_same(whole, cut)
    assert lines(tmp_path / "whole") == lines(tmp_path / "cut")


def test_replicates_are_as_single_runs(tmp_path):
    short = {"data__memory__examples": 200, "epochs": 1}
    run(parse(replicates=2, **short), tmp_path / "both")
    run(parse(seed=4, **short), tmp_path / "single")
    ours, theirs = (
        training.load_run(path).params
        for path in (tmp_path / "both" / "seed-4", tmp_path / "single")
    )
    for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)


def test_no_command_asks_such_a_network(finished):
    with pytest.raises(InputError, match=r"'memory', expected one of 'classification'$"):
        training.TrainedClassifier.load(finished)
    with pytest.raises(InputError, match=r"a\.csv: .*'memory', .* classification, language_model"):
        training.load_run(finished).score(Path("a.csv"))


def test_a_length_that_makes_no_sense_is_told_before_anything_is_written(tmp_path):
    config = parse(data__memory__problem="adding", data__memory__test_length=1)
    with pytest.raises(InputError, match=r"tested: given 1, and 'adding' needs at least 2"):
        run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
