"""Runs of language models: scores, resumption, replicates and generation."""

import dataclasses
import math
import shutil
from collections import Counter
from pathlib import Path

import jax
import numpy as np
import pytest
from command_line import run_command

from rnnjax import training
from rnnjax.errors import InputError
from rnnjax.tasks.language_modeling.report import BASELINES
from rnnjax.tasks.language_modeling.task import LanguageModelingTask
from rnnjax.tasks.sampling import GenerationOptions
from rnnjax.training import loop
from rnnjax.training.diagnosis import describe_plateau

from .small_runs import (
    assert_trees_equal,
    make_config,
    read_json,
    read_metrics,
    train,
    train_until_killed,
)

PLAY_CONFIG = {
    "task": "language_modeling",
    "seed": 3,
    "epochs": 2,
    "batch_size": 4,
    "learning_rate": 0.01,
    "log_every": 3,
    "data": {
        "sequence_length": 9,
        "validation": 0.1,
        "vocabulary": {"unit": "character", "size": 40},
    },
    "model": {"cell": "LSTMCell", "features": 8, "embedding": {"features": 6}, "dropout": 0.2},
    "checkpoint": {"every": 0},
}


def play_config(play: Path, **overrides):
    return make_config(PLAY_CONFIG, **{"data__file": str(play), **overrides})


@pytest.fixture(scope="module")
def finished(play, tmp_path_factory) -> Path:
    """The folder of a finished run."""
    workdir = tmp_path_factory.mktemp("runs") / "play"
    train(play_config(play), workdir, "play")
    return workdir


def last_lines(text):
    """Returns the test split of a text: its last lines, a twentieth of it."""
    return text[text.index("\n", round(0.95 * len(text)) - 1) + 1 :]


def test_run_has_scores_a_sample_and_a_report(finished, play):
    result = read_json(finished / "result.json")
    test = result["test"]
    assert test["rows"] == len(last_lines(play.read_text())) + 1  # and the end
    assert test["perplexity"] == pytest.approx(np.exp(test["loss"]))
    assert result["validation"]["loss"] < 2.9
    assert result["compilations"] == {"train": 1, "evaluate": 1}
    assert 0 < len(result["sample"]["text"]) <= 500
    assert read_metrics(finished)[0]["loss"] > result["validation"]["loss"]
    page = (finished / "report.html").read_text()
    assert "perplexity" in page
    assert "rnnjax.generate" in page
    assert "rnnjax.predict" not in page


def test_run_has_perplexities_of_counted_models(play, tmp_path, capsys):
    config = play_config(play, epochs=1)
    result = train(config, tmp_path / "run", "play")
    corpus = LanguageModelingTask.load_corpus(config)
    dataset = LanguageModelingTask.make_dataset(config, corpus)
    counts = np.bincount(dataset.train.targets, minlength=dataset.vocab_size)
    shares = counts / counts.sum()
    for name, split in (("validation", dataset.validation), ("test", dataset.test)):
        assert split is not None
        assert len(split.targets) == result[name]["rows"]
        expected = np.exp(-np.log(shares[split.targets]).mean())  # no token is new
        assert result["baselines"]["unigram"][name] == pytest.approx(expected, rel=0.01)
        assert result["baselines"]["kneser_ney_bigram"][name] < 0.8 * expected
    unigram, bigram = (result["baselines"][name]["test"] for name in BASELINES)
    message = f"perplexity of unigrams {unigram:.2f}, of Kneser-Ney bigrams {bigram:.2f}"
    assert message in capsys.readouterr().err
    page = (tmp_path / "run" / "report.html").read_text()
    assert f"unigrams have a perplexity of {unigram:.2f}" in page
    assert f"Kneser-Ney bigrams of {bigram:.2f}" in page


def test_plateau_of_token_frequencies_warns_once(play, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(loop, "PLATEAU_STEPS", 48)
    for rate, warnings in ((1e-6, 1), (0.05, 0)):
        train(play_config(play, learning_rate=rate), tmp_path / str(rate))
        assert capsys.readouterr().err.count("WARNING: plateau") == warnings


def test_plateau_is_the_entropy_of_the_targets(play):
    config = play_config(play)
    dataset = LanguageModelingTask.make_dataset(config, LanguageModelingTask.load_corpus(config))
    shares = [count / len(dataset.train) for count in Counter(dataset.train.targets).values()]
    entropy = -sum(share * math.log(share) for share in shares)
    assert LanguageModelingTask.input_free_loss(dataset) == pytest.approx(entropy)
    assert "reach 2.0000" in describe_plateau(2.0, 2.0, 500)
    assert describe_plateau(1.9999, 2.0, 500) == describe_plateau(9.0, None, 500) == ""


def test_scores_of_a_file_equal_those_of_the_test_split(finished, play, tmp_path):
    path = tmp_path / "test.txt"
    path.write_text(last_lines(play.read_text()))
    run = training.load_run(finished)
    assert run.evaluate(path) == read_json(finished / "result.json")["test"]
    # Of documents each line is one, blank lines aside.
    path.write_text("two\n\nof them\r\n")
    documents = dataclasses.replace(run, data={**run.data, "connected": False})
    assert documents.evaluate(path)["rows"] == len("two" + "of them") + 2
    path.write_text("")
    with pytest.raises(InputError, match=r"test\.txt: there is no text"):
        run.evaluate(path)


def test_unknown_characters_warn(finished, tmp_path, capsys):
    run = training.load_run(finished)
    (tmp_path / "cyrillic.txt").write_text("жзий the\n" * 5)
    # With an end at the start and after the last line.
    assert run.evaluate(tmp_path / "cyrillic.txt")["unknown_share"] == 20 / (5 * 9 + 2)
    assert "WARNING: 42.6% of the tokens are unknown" in capsys.readouterr().err


@pytest.mark.parametrize(
    "changes",
    [{}, {"steps_per_call": 3}, {"early_stopping__patience": 9, "averaging__decay": 0.9}],
)
def test_resumed_run_equals_uninterrupted_run(play, tmp_path, changes):
    config = play_config(play, **changes)
    expected, resumed = tmp_path / "expected", tmp_path / "resumed"
    train(config, expected)
    train_until_killed(config, resumed, 6)
    train(config, resumed)
    assert_trees_equal(training.load_run(resumed).params, training.load_run(expected).params)
    assert read_metrics(resumed) == read_metrics(expected)


def test_replicate_equals_the_run_of_its_seed(play, tmp_path):
    train(play_config(play, replicates=2), tmp_path / "replicates")
    train(play_config(play, seed=4), tmp_path / "single")
    params, expected = (
        training.load_run(path).params
        for path in (tmp_path / "replicates" / "seed-4", tmp_path / "single")
    )
    for leaf, expected_leaf in zip(jax.tree.leaves(params), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(leaf, expected_leaf, rtol=1e-3, atol=1e-5)


def test_state_is_reset_between_documents(play, tmp_path):
    documents = {"data__file": "", "data__corpus": "docstrings", "data__take": 60}
    result = train(play_config(play, data__vocabulary__size=99, **documents), tmp_path / "run")
    assert result["data"]["connected"] is False
    task = training.load_run(tmp_path / "run").task
    assert isinstance(task, LanguageModelingTask)
    assert task.resets


@pytest.mark.parametrize("replicates", [1, 2])
def test_last_call_has_fewer_steps(play, tmp_path, replicates):
    # Nothing is due before the last step, and the number of steps is no multiple of a call's.
    intervals = {"evaluate_every": 1000, "log_every": 1000, "checkpoint__every": 0}
    config = play_config(play, steps_per_call=8, replicates=replicates, **intervals)
    result = train(config, tmp_path / "run")
    folder = tmp_path / "run" / ("" if replicates == 1 else "seed-3")
    metrics = read_metrics(folder)[-3:]
    assert [line["split"] for line in metrics] == ["train", "validation", "test"]
    assert {line["step"] for line in metrics} == {result["steps"]}
    rows = read_json(folder / "environment.json")["data"]["rows"]["train"]
    assert result["steps"] == 2 * math.ceil(math.ceil(rows / 4) / 9)
    assert result["steps"] % 8


def test_embedding_is_initialized_with_word_vectors(play, tmp_path):
    path = tmp_path / "vectors.txt"
    path.write_text("king 1 2 3 4 5 6\nart 6 5 4 3 2 1\n", encoding="utf-8")
    embedding = {"model__embedding__path": str(path), "model__embedding__trainable": False}
    config = play_config(play, data__vocabulary__unit="word", **embedding)
    train(config, tmp_path / "run")
    run = training.load_run(tmp_path / "run")
    table = run.params["embed"]["embedding"]
    assert len(table) == len(run.text_vocabulary) < 40
    row = table[run.text_vocabulary.words.index("king")]
    np.testing.assert_array_equal(row, [1, 2, 3, 4, 5, 6])


def test_layer_table_has_every_parameter(play, tmp_path):
    result = train(play_config(play, model__embedding__tied=True), tmp_path / "run")
    params = training.load_run(tmp_path / "run").params
    assert result["parameters"] == sum(leaf.size for leaf in jax.tree.leaves(params))
    assert {row["layer"] for row in result["model"]} >= {"embed", "score", "narrow"}


def test_generated_text_depends_on_the_seed(finished):
    run = training.load_run(finished)

    def generate(**options):
        return "".join(run.generate("ANN:", 60, GenerationOptions(**options)))

    assert generate(seed=1) == generate(seed=1)
    assert generate(seed=1) != generate(seed=2)
    assert generate(temperature=0.0, seed=1) == generate(temperature=0.0, seed=2)


def test_generate_command_prints_prompt_and_text(finished, tmp_path):
    prompt = "BOB:\nжthe "
    flags = ["--prompt", prompt, "--length", "30", "--seed", "7", "--temperature", "0.7"]
    result = run_command("generate", "--workdir", str(finished), *flags, folder=tmp_path)
    assert result.status == 0
    assert "WARNING: 10.0% of the tokens of the prompt are unknown to the network" in result.err
    assert result.out.startswith(prompt)
    assert 1 < len(result.out) <= len(prompt) + 31
    run = training.load_run(finished)
    options = GenerationOptions(temperature=0.7, seed=7)
    assert result.out == prompt + "".join(run.generate(prompt, 30, options)) + "\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--top_p", "2"], "top_p: given 2.0, expected more than 0"),
        (["--length", "0"], "length: given 0, expected 1 or more"),
        (["more"], "given 'more', expected flags alone"),
    ],
)
def test_generate_command_reports_mistakes(finished, tmp_path, arguments, message):
    result = run_command("generate", "--workdir", str(finished), *arguments, folder=tmp_path)
    assert result.status == 2
    assert message in result.err
    assert result.out == ""


@pytest.mark.parametrize(
    ("command", "arguments", "reason"),
    [
        ("predict", ["a text"], "answers neither texts nor files"),
        ("predict", ["--data", "texts.csv"], "answers neither texts nor files"),
        ("translate", ["a text"], "translates no text"),
    ],
)
def test_command_of_another_task_is_refused(finished, run_in_process, command, arguments, reason):
    result = run_in_process(command, "--workdir", str(finished), *arguments)
    assert (result.status, result.out) == (2, "")
    assert result.err == (
        f"error: {finished} holds a run of the task 'language_modeling', which {reason}; it can be "
        f'used with `python -m rnnjax.generate --workdir={finished} --prompt "text"` or '
        f'`python -m rnnjax.score --workdir={finished} "text"` or '
        f"`python -m rnnjax.evaluate --workdir={finished} --data FILE.txt`\n"
    )


def test_changed_text_is_refused(play, tmp_path):
    path = tmp_path / "play.txt"
    shutil.copy(play, path)
    config = play_config(path)
    train(config, tmp_path / "run")
    (tmp_path / "run" / "result.json").unlink()
    path.write_text(path.read_text() + "more\n")
    with pytest.raises(InputError, match="the data had the fingerprint"):
        train(config, tmp_path / "run")
