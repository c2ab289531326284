"""A trained run is scored on another file."""

import csv
import json
import math

import numpy as np
import pytest
from command_line import run_command
from training.small_runs import news_config

from rnnjax import training
from rnnjax.data.corpora import read_csv

pytest_plugins = ["training.small_runs"]


def scored(workdir, path, folder):
    ended = run_command("evaluate", f"--workdir={workdir}", f"--data={path}", folder=folder)
    assert ended.status == 0, ended.err
    return json.loads(ended.out)


def test_the_test_file_of_a_masked_run_gets_the_scores_of_the_run(finished, news, tmp_path):
    found = scored(finished, news / "test.csv", tmp_path)
    assert found == json.loads((finished / "result.json").read_text())["test"]
    assert found["rows"] == 61
    assert list(tmp_path.iterdir()) == []


def test_the_test_file_of_a_run_that_reads_padding_is_batched_as_it_was(
    news, tmp_path, several_lengths
):
    config = news_config(news, model__mask=False, epochs=1)
    result = training.train(config, "small", tmp_path)
    assert len(result["buckets"]) == 3
    rows = list(read_csv(news / "test.csv", ["a", "b", "c", "d"]))
    labels = np.array([row.label for row in rows], np.int32)
    run = training.TrainedClassifier.load(tmp_path)
    found = run.log_probabilities([f"{row.title} {row.description}" for row in rows], labels)
    loss = -float(np.mean(found[np.arange(len(labels)), labels], dtype=np.float64))
    assert loss == result["test"]["loss"]
    assert float(np.mean(found.argmax(axis=1) == labels)) == result["test"]["accuracy"]


def test_scores_are_those_of_the_answers(finished, tmp_path):
    rows = [(1, "minister", "treaty"), (2, "goal", "coach"), (2, "", ""), (4, "x" * 9, "profit")]
    with (tmp_path / "few.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    found = scored(finished, "few.csv", tmp_path)
    texts = [f"{title} {description}" for _, title, description in rows]
    probabilities = training.TrainedClassifier.load(finished).predict(texts)
    own = [row[label - 1] for row, (label, *_) in zip(probabilities, rows, strict=True)]
    hits = [row.argmax() == label - 1 for row, (label, *_) in zip(probabilities, rows, strict=True)]
    assert found["rows"] == 4
    assert found["accuracy"] == sum(hits) / 4
    assert found["loss"] == pytest.approx(-sum(map(math.log, own)) / 4, rel=1e-5)


def test_scores_say_the_share_of_unknown_tokens_and_warn_of_many(finished, tmp_path, capsys):
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
    ("content", "says"),
    [
        (None, "there is no such file"),
        (b'"1","a"\n', "line 1: 2 columns"),
        (b'"1","a","b"\n"5","a","b"\n', "line 2"),
        (b'"1","a","b\n', "broken quotes"),
        (b"", "there are no rows"),
    ],
)
def test_a_file_that_cannot_be_scored_is_named(finished, tmp_path, content, says):
    if content is not None:
        (tmp_path / "bad.csv").write_bytes(content)
    ended = run_command("evaluate", f"--workdir={finished}", "--data=bad.csv", folder=tmp_path)
    assert (ended.status, ended.out) == (2, "")
    assert ended.err.startswith("error: bad.csv")
    assert says in ended.err
