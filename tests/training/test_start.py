"""The start of a run: checks before anything is written, warnings, and the manifest."""

import dataclasses
import json
import shutil

import pytest
from reporting.runs import reseal

from rnnjax import training
from rnnjax.errors import InputError
from rnnjax.tasks.classification.data import load_corpus
from rnnjax.tasks.classification.task import ClassificationTask

from .small_runs import news_config, read_json, read_metrics, train


def test_warm_up_longer_than_training_is_refused(news, tmp_path):
    with pytest.raises(InputError, match=r"config\.warmup_steps: given 100000, and the training"):
        train(news_config(news, warmup_steps=100_000), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_refused_warm_up_suggests_a_length(news, tmp_path):
    data = {"data__take": 160, "data__buckets": 1}
    with pytest.raises(InputError, match=r"has 20 steps.*config.learning_rate: 2, a tenth"):
        train(news_config(news, warmup_steps=99, **data), tmp_path)
    assert train(news_config(news, warmup_steps=2, **data), tmp_path)


def test_cell_that_cannot_read_text_is_refused(news, tmp_path):
    config = news_config(news, model__cell="ConvLSTMCell")
    with pytest.raises(InputError, match=r"shape \(16, 6\); expected 2 axes of an image"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_unknown_cell_is_refused(news, tmp_path):
    with pytest.raises(InputError, match=r"config.model.cell: given 'LSTM'.*LSTMCell"):
        train(news_config(news, model__cell="LSTM"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_lint_warns_until_mistakes_are_acknowledged(news, tmp_path, capsys):
    mistakes = {"model__mask": False, "data__shuffle": False, "epochs": 1}
    reasons = {"acknowledged__padding_read": "to see it", "acknowledged__not_shuffled": "the same"}
    train(news_config(news, **mistakes), tmp_path)
    message = capsys.readouterr().err
    first = message.index("WARNING: padding_read: model.mask")
    assert first < message.index("WARNING: not_shuffled:")
    assert "rnnjax.lint --rules" in message
    (tmp_path / "result.json").unlink()
    train(news_config(news, **mistakes, **reasons), tmp_path)
    message = capsys.readouterr().err
    assert "going on from step" in message
    assert "WARNING" not in message
    assert "rnnjax.lint" not in message
    # The config of the run stays as it was.
    config = read_json(tmp_path / "config.json")["config"]
    assert set(config["acknowledged"].values()) == {""}


def test_manifest_matches_checkpointed_steps(news, tmp_path, capsys):
    config = news_config(news, checkpoint__every=4, replicates=2, epochs=1)
    train(config, tmp_path)
    folders = [tmp_path, tmp_path / "seed-3", tmp_path / "seed-4"]

    def manifests():
        return [read_json(folder / "environment.json") for folder in folders]

    def set_commit(commit):
        for folder, manifest in zip(folders, manifests(), strict=True):
            (folder / "environment.json").write_text(json.dumps({**manifest, "commit": commit}))
            (folder / "result.json").unlink()
            reseal(folder)

    set_commit("first")
    train(config, tmp_path)
    for manifest in manifests():
        assert manifest["commit"] == "first"
        assert [resumed["step"] for resumed in manifest["resumed"]] == [15]
    set_commit("first")
    shutil.rmtree(tmp_path / "checkpoints")
    # A restarted training may stop sooner than the one that left these checkpoints.
    for later in ("30", "45"):
        checkpoints = tmp_path / "seed-3" / "checkpoints"
        shutil.copytree(checkpoints / "15", checkpoints / later)
    train(config, tmp_path)
    for manifest in manifests():
        assert manifest["commit"] != "first"
        assert "resumed" not in manifest
    # Checkpoints of the first training are gone.
    capsys.readouterr()
    assert training.load_run(tmp_path / "seed-3").step == 15
    assert "is damaged" not in capsys.readouterr().err


def test_fallback_data_is_marked_in_every_file(
    news, tmp_path, several_lengths, monkeypatch, capsys
):
    corpus = dataclasses.replace(
        load_corpus(news_config(news).data), name="docstrings", fallback="docstrings"
    )
    monkeypatch.setattr(ClassificationTask, "load_corpus", staticmethod(lambda config: corpus))
    train(news_config(news), tmp_path)
    for name in ("config", "environment", "result"):
        data = read_json(tmp_path / f"{name}.json")["data"]
        assert data == "docstrings (fallback)" or data["fallback"] == "docstrings"
    assert {line["data"] for line in read_metrics(tmp_path)} == {"docstrings (fallback)"}
    assert "docstrings" in (tmp_path / "report.html").read_text()
    capsys.readouterr()
    assert training.load_run(tmp_path).fallback == "docstrings"
    assert "WARNING: this network was trained on the docstrings" in capsys.readouterr().err


def test_data_of_the_config_is_not_marked(finished):
    assert "data" not in read_json(finished / "config.json")
    assert not any("data" in line for line in read_metrics(finished))
