"""Training from Python: `rnnjax.fit`, `rnnjax.load` and the trained run that they return."""

import os
import tempfile
from pathlib import Path

import ml_collections
import numpy as np
import pytest

import rnnjax
from rnnjax.config import defaults
from rnnjax.errors import InputError
from rnnjax.tasks.classification.trained_run import TrainedClassifier
from rnnjax.training import fitting

from .small_runs import news_config, train_until_signal

TEXTS = ["minister of the border", "the goal of the season"]


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """The folder of temporary files, empty at first."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def small(news):
    """The small config as a ConfigDict, which is not yet validated."""
    return ml_collections.ConfigDict(news_config(news, epochs=1).model_dump())


def test_a_run_without_a_folder_has_everything_and_leaves_nothing(
    small, temporary, tmp_path, monkeypatch, capsys
):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    run = rnnjax.fit(small, {"model.cell": "GRUCell"}, seed=1)
    assert isinstance(run, TrainedClassifier)
    assert (run.config.model.cell, run.config.seed) == ("GRUCell", 1)
    assert "report:" not in capsys.readouterr().err
    probabilities = run.predict(TEXTS)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    assert run.stream().feed(TEXTS[0]).shape == (4,)
    scores = run.evaluate(Path(run.config.data.dir) / "test.csv")
    assert scores["accuracy"] == run.result["test"]["accuracy"]
    assert {line["split"] for line in run.history} == {"train", "test"}
    assert run.report().startswith("<!doctype html>")
    inspection = run.inspect(TEXTS[:1])
    assert len(inspection.texts) == 1
    assert "minister" in inspection.html()
    assert "cell" in run.params["recurrent"]["layers_0"]
    assert len(list(temporary.glob("rnnjax-*"))) == 1
    assert list(Path.cwd().iterdir()) == []

    run.save("saved")
    saved = rnnjax.load("saved")
    del run, inspection
    assert list(temporary.glob("rnnjax-*")) == []
    np.testing.assert_array_equal(saved.predict(TEXTS), probabilities)
    assert saved.result["test"]["accuracy"] == scores["accuracy"]
    assert "--workdir saved" in Path("saved/report.html").read_text()
    with pytest.raises(InputError, match="given saved, which exists; expected a new folder"):
        saved.save("saved")
    saved.save("copied")
    assert rnnjax.load("copied").history == saved.history


def test_a_run_with_a_folder_is_that_of_the_command_and_is_resumed(small, tmp_path, capsys):
    run = rnnjax.fit(small, workdir=tmp_path / "run")
    assert run.folder == tmp_path / "run"
    assert (tmp_path / "run" / "report.html").exists()
    again = rnnjax.fit(small, workdir=str(tmp_path / "run"))
    assert "nothing is left to do" in capsys.readouterr().err
    np.testing.assert_array_equal(again.predict(TEXTS), run.predict(TEXTS))


def test_the_command_of_a_named_config_is_recorded(monkeypatch, tmp_path):
    commands = []

    def record(config, name, workdir, command):
        commands.append((name, command))
        raise InputError("enough")

    monkeypatch.setattr(fitting, "train", record)
    with pytest.raises(InputError, match="enough"):
        rnnjax.fit("gru", {"model.cell": "LSTMCell(peepholes=True)"}, epochs=2)
    assert commands == [
        (
            "gru",
            "python -m rnnjax.main --config=gru --config.epochs=2 "
            "'--config.model.cell=LSTMCell(peepholes=True)'",
        )
    ]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"epoch": 2}, r"config\.epoch: there is no such key"),
        ({"replicates": 2}, "given 2, and fit returns one network"),
        ({"data.dir": "nowhere"}, "'nowhere': there is no such folder"),
    ],
)
def test_mistakes_leave_nothing(small, temporary, overrides, message):
    with pytest.raises(InputError, match=message):
        rnnjax.fit(small, overrides)
    assert list(temporary.glob("rnnjax-*")) == []


def test_a_termination_leaves_nothing_without_a_folder(small, temporary, tmp_path, monkeypatch):
    def interrupt(config, name, workdir, command):
        train_until_signal(config, workdir, 5)
        raise rnnjax.training.InterruptedRunError("SIGTERM", 5, 15)

    monkeypatch.setattr(fitting, "train", interrupt)
    with pytest.raises(KeyboardInterrupt, match="nothing was saved"):
        rnnjax.fit(small)
    assert list(temporary.glob("rnnjax-*")) == []
    with pytest.raises(rnnjax.training.InterruptedRunError):
        rnnjax.fit(small, workdir=tmp_path / "run")
    assert (tmp_path / "run" / "checkpoints" / "5").exists()


def test_plain_values_are_a_config(news, temporary):
    values = {**defaults(), "data": {"dir": os.fspath(news), "take": 16}}
    run = rnnjax.fit(values, {"model.features": 4, "data.vocabulary.size": 40})
    assert run.result["test"]["rows"] == 16
