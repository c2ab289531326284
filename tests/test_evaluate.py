"""Evaluation of a trained run on another file, in Python and by the command."""

import csv
import json
import math
import os

import numpy as np
import pytest
from training.small_runs import SMALL_CONFIG, make_config, news_config

from rnnjax import training
from rnnjax.data import array_files
from rnnjax.data.corpora import read_csv
from rnnjax.tasks.classification import trained_run
from rnnjax.tasks.classification.trained_run import TrainedClassifier


def test_the_command_gives_the_scores_of_the_run(finished, news, run_in_process):
    result = run_in_process("evaluate", f"--workdir={finished}", f"--data={news / 'test.csv'}")
    assert result.status == 0, result.err
    scores = json.loads(result.out)
    assert scores == json.loads((finished / "result.json").read_text())["test"]
    assert scores["rows"] == 61


def test_a_run_without_a_mask_is_evaluated_in_the_batches_of_its_test(
    news, tmp_path, several_lengths
):
    config = news_config(news, model__mask=False, epochs=1)
    result = training.train(config, "small", tmp_path)
    assert len(result["buckets"]) == 3
    rows = list(read_csv(news / "test.csv", ["a", "b", "c", "d"]))
    labels = np.array([row.label for row in rows], np.int32)
    run = training.load_run(tmp_path)
    assert isinstance(run, TrainedClassifier)
    outputs = run.log_probabilities([f"{row.title} {row.description}" for row in rows], labels)
    loss = -float(np.mean(outputs[np.arange(len(labels)), labels], dtype=np.float64))
    assert loss == result["test"]["loss"]
    assert float(np.mean(outputs.argmax(axis=1) == labels)) == result["test"]["accuracy"]


def test_scores_are_those_of_the_predictions(finished, tmp_path):
    rows = [(1, "minister", "treaty"), (2, "goal", "coach"), (2, "", ""), (4, "x" * 9, "profit")]
    path = tmp_path / "few.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    run = training.load_run(finished)
    scores = run.evaluate(os.fspath(path))
    probabilities = run.predict([f"{title} {description}" for _, title, description in rows])
    labels = np.array([label - 1 for label, *_ in rows])
    assert scores["rows"] == 4
    assert scores["accuracy"] == np.mean(probabilities.argmax(axis=1) == labels)
    likelihoods = probabilities[np.arange(4), labels]
    assert scores["loss"] == pytest.approx(-sum(map(math.log, likelihoods)) / 4, rel=1e-5)


def test_unknown_tokens_are_counted_and_many_are_a_warning(finished, tmp_path, capsys):
    run = training.load_run(finished)
    path = tmp_path / "few.csv"
    path.write_text("1,minister,treaty the of on\n2,goal,xyzzy the of on after\n")
    assert run.evaluate(path)["unknown_share"] == 1 / 11
    assert "unknown" not in capsys.readouterr().err
    path.write_text("1,minister,xyzzy\n2,goal,plugh quux\n")
    assert run.evaluate(path)["unknown_share"] == 3 / 5
    assert "WARNING: 60.0% of the tokens are unknown to the network, and 0.0%" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no such file"),
        (b'"1","a"\n', "line 1: 2 columns"),
        (b'"1","a","b"\n"5","a","b"\n', "line 2"),
        (b'"1","a","b\n', "broken quotes"),
        (b"", "there are no rows"),
    ],
)
def test_unreadable_files_are_refused(
    finished, tmp_path, monkeypatch, run_in_process, content, message
):
    monkeypatch.chdir(tmp_path)
    if content is not None:
        (tmp_path / "bad.csv").write_bytes(content)
    result = run_in_process("evaluate", f"--workdir={finished}", "--data=bad.csv")
    assert (result.status, result.out) == (2, "")
    assert result.err.startswith("error: bad.csv")
    assert message in result.err


@pytest.mark.parametrize("options", [{}, {"max_tokens": 3}, {"multi_label": True}])
def test_a_large_file_has_the_scores_of_a_small_one(tmp_path, monkeypatch, options):
    monkeypatch.setenv("RNNJAX_CACHE", str(tmp_path / "cache"))
    rows = [
        {"text": f"word{n % 5} " * (1 + n % 9) + f"w{n % 3}", "label": f"c{n % 4}"}
        for n in range(90)
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "a.jsonl").write_text(text)
    data = {"file": str(tmp_path / "a.jsonl"), "text": "text", **options}
    config = make_config(SMALL_CONFIG, epochs=1)
    config = config.model_copy(update={"data": config.data.model_copy(update=data)})
    training.train(config, "small", tmp_path / "run")
    run = training.load_run(tmp_path / "run")
    assert isinstance(run, TrainedClassifier)
    monkeypatch.setattr(trained_run, "_MAX_BATCHED_TOKENS", 8)
    expected = run.evaluate(tmp_path / "a.jsonl")
    assert expected["rows"] == 90
    if not options.get("multi_label"):
        labels = np.array([n % 4 for n in range(90)], np.int32)
        outputs = run.log_probabilities([row["text"] for row in rows], labels)
        losses = outputs[np.arange(90), labels]
        assert expected["loss"] == -float(np.mean(losses, dtype=np.float64))
    monkeypatch.setattr(array_files, "MAX_BYTES_IN_MEMORY", 20)
    assert run.evaluate(tmp_path / "a.jsonl") == expected
    folders = sorted((tmp_path / "cache").glob("*/*-*.lock"))
    kinds = [folder.parent.name for folder in folders]
    assert kinds.count("labelled") == 1
    assert kinds.count("tokens") == (1 if options.get("max_tokens") else 3)
