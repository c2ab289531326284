"""Runs of language models: through the one loop, resumed exactly, asked for text."""

import dataclasses
import json
import math
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from rnnjax import config as schema
from rnnjax import training
from rnnjax.errors import InputError
from rnnjax.interrupt import InterruptedRunError
from rnnjax.tasks import LanguageModelingTask
from rnnjax.tasks.sampling import SamplingOptions
from rnnjax.training import loop

from .small import assert_same, changed, lines, typed

pytest_plugins = ["training.small"]

PLAY = {
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
    "checkpoint": {"every": 4},
}


def parse(play: Path, **changes) -> schema.Config:
    """Returns the small config on a file; `model__layers=2` sets model.layers."""
    return changed(PLAY, **{"data__file": str(play), **changes})


def run(config: schema.Config, workdir: Path) -> dict:
    """Returns the result of a run."""
    return training.train(config, "play", workdir, "python -m rnnjax.main --config=play.py")


@pytest.fixture(scope="module")
def finished(play, tmp_path_factory) -> Path:
    """The folder of a finished run."""
    workdir = tmp_path_factory.mktemp("runs") / "play"
    run(parse(play), workdir)
    return workdir


def test_a_run_leaves_scores_a_sample_and_a_report(finished, play):
    result = json.loads((finished / "result.json").read_text())
    test = result["test"]
    text = play.read_text()
    place = text.index("\n", round(0.95 * len(text)) - 1) + 1
    assert test["rows"] == len(text) - place + 1  # and the end
    assert test["perplexity"] == pytest.approx(np.exp(test["loss"]))
    assert result["validation"]["loss"] < 2.9
    assert result["compilations"] == {"train": 1, "evaluate": 1}
    assert 0 < len(result["sample"]["text"]) <= 500
    assert lines(finished)[0]["loss"] > result["validation"]["loss"]
    page = (finished / "report.html").read_text()
    assert "perplexity" in page
    assert "rnnjax.generate" in page
    assert "rnnjax.predict" not in page


def test_a_file_gets_the_scores_that_the_run_gave_its_test_part(finished, play, tmp_path):
    text = play.read_text()
    place = text.index("\n", round(0.95 * len(text)) - 1) + 1
    (tmp_path / "end.txt").write_text(text[place:])
    run = training.load_run(finished)
    result = json.loads((finished / "result.json").read_text())
    assert run.score(tmp_path / "end.txt") == result["test"]
    # Of documents each line is one, and none is blank.
    (tmp_path / "end.txt").write_text("two\n\nof them\r\n")
    documents = dataclasses.replace(run, data={**run.data, "connected": False})
    assert documents.score(tmp_path / "end.txt")["rows"] == len("two" + "of them") + 2
    (tmp_path / "end.txt").write_text("")
    with pytest.raises(InputError, match=r"end\.txt: there is no text"):
        run.score(tmp_path / "end.txt")


def test_scores_of_a_text_in_another_alphabet_warn(finished, tmp_path, capsys):
    run = training.load_run(finished)
    (tmp_path / "invented.txt").write_text("жзий the\n" * 5)
    # With an end at the start and after the last line.
    assert run.score(tmp_path / "invented.txt")["unknown_share"] == 20 / (5 * 9 + 2)
    assert "WARNING: 42.6% of the tokens are unknown" in capsys.readouterr().err


@pytest.mark.parametrize(
    "changes",
    [{}, {"steps_per_call": 3}, {"early_stopping__patience": 9, "averaging__decay": 0.9}],
)
def test_a_run_taken_up_again_ends_as_one_that_was_not_stopped(
    play, tmp_path, changes, monkeypatch
):
    config = parse(play, **changes)
    run(config, tmp_path / "whole")
    steps, real = [], loop.batch_group_at

    def stopping(members, step, most):
        steps.append(step)
        if step >= 6:
            raise KeyboardInterrupt
        return real(members, step, most)

    monkeypatch.setattr(loop, "batch_group_at", stopping)
    with pytest.raises((KeyboardInterrupt, InterruptedRunError)):
        run(config, tmp_path / "cut")
    monkeypatch.undo()
    run(config, tmp_path / "cut")
    whole, cut = (
        training.TrainedLanguageModel.load(tmp_path / name).params for name in ("whole", "cut")
    )
    assert_same(whole, cut)
    assert lines(tmp_path / "whole") == lines(tmp_path / "cut")


def test_replicates_are_as_single_runs(play, tmp_path):
    run(parse(play, replicates=2), tmp_path / "both")
    run(parse(play, seed=4), tmp_path / "single")
    ours, theirs = (
        training.TrainedLanguageModel.load(path).params
        for path in (tmp_path / "both" / "seed-4", tmp_path / "single")
    )
    for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)


def test_documents_are_read_with_resets(play, tmp_path):
    config = parse(
        play, data__file="", data__corpus="docstrings", data__take=60, data__vocabulary__size=99
    )
    result = run(config, tmp_path / "run")
    assert result["data"]["connected"] is False
    task = training.TrainedLanguageModel.load(tmp_path / "run").task
    assert isinstance(task, LanguageModelingTask)
    assert task.resets


@pytest.mark.parametrize("replicates", [1, 2])
def test_a_training_of_several_steps_a_call_ends_with_its_last_step(play, tmp_path, replicates):
    # Nothing is due before the end, which no whole number of calls reaches.
    options = {"evaluate_every": 1000, "log_every": 1000, "checkpoint__every": 0}
    config = parse(play, steps_per_call=8, replicates=replicates, **options)
    result = run(config, tmp_path / "run")
    folder = tmp_path / "run" / ("" if replicates == 1 else "seed-3")
    lines_of = lines(folder)
    assert [line["split"] for line in lines_of][-3:] == ["train", "validation", "test"]
    assert {line["step"] for line in lines_of[-3:]} == {result["steps"]}
    rows = json.loads((folder / "environment.json").read_text())["data"]["rows"]["train"]
    assert result["steps"] == 2 * math.ceil(math.ceil(rows / 4) / 9)
    assert result["steps"] % 8


def test_words_begin_with_the_vectors_of_a_file(play, tmp_path):
    path = tmp_path / "vectors.txt"
    path.write_text("king 1 2 3 4 5 6\nart 6 5 4 3 2 1\n", encoding="utf-8")
    config = parse(
        play,
        data__vocabulary__unit="word",
        model__embedding__path=str(path),
        model__embedding__trainable=False,
    )
    run(config, tmp_path / "run")
    asked = training.TrainedLanguageModel.load(tmp_path / "run")
    table = asked.params["embed"]["embedding"]
    assert len(table) == len(asked.vocabulary) < 40
    found = table[asked.vocabulary.words.index("king")]
    np.testing.assert_array_equal(found, [1, 2, 3, 4, 5, 6])


def test_the_table_of_layers_has_every_parameter(play, tmp_path):
    result = run(parse(play, model__embedding__tied=True), tmp_path / "run")
    params = training.TrainedLanguageModel.load(tmp_path / "run").params
    assert result["parameters"] == sum(leaf.size for leaf in jax.tree.leaves(params))
    assert {row["layer"] for row in result["model"]} >= {"embed", "score", "narrow"}


def test_the_same_seed_writes_the_same_text(finished):
    asked = training.TrainedLanguageModel.load(finished)

    def text(**choice):
        return "".join(asked.generate("ANN:", 60, SamplingOptions(**choice)))

    assert text(seed=1) == text(seed=1)
    assert text(seed=1) != text(seed=2)
    assert text(temperature=0.0, seed=1) == text(temperature=0.0, seed=2)


def test_the_command_prints_prompt_and_text(finished, tmp_path):
    prompt = "BOB:\nжthe "
    arguments = ["--prompt", prompt, "--length", "30", "--seed", "7", "--temperature", "0.7"]
    one = typed("generate", "--workdir", str(finished), *arguments, folder=tmp_path)
    assert one.status == 0
    assert "WARNING: 10.0% of the tokens of the prompt are unknown to the network" in one.err
    assert one.out.startswith(prompt)
    assert 1 < len(one.out) <= len(prompt) + 31
    asked = training.TrainedLanguageModel.load(finished)
    choice = SamplingOptions(temperature=0.7, seed=7)
    assert one.out == prompt + "".join(asked.generate(prompt, 30, choice)) + "\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--top_p", "2"], "top_p: given 2.0, expected more than 0"),
        (["--length", "0"], "length: given 0, expected 1 or more"),
        (["more"], "given 'more', expected flags alone"),
    ],
)
def test_mistakes_on_the_command_line_are_told(finished, tmp_path, arguments, message):
    ended = typed("generate", "--workdir", str(finished), *arguments, folder=tmp_path)
    assert ended.status == 2
    assert message in ended.err
    assert ended.out == ""


def test_a_run_of_another_task_is_sent_to_its_command(finished):
    with pytest.raises(InputError, match=r"'language_modeling', expected one of 'classification'"):
        training.TrainedClassifier.load(finished)


def test_another_text_in_the_same_folder_is_refused(play, tmp_path):
    path = tmp_path / "own.txt"
    shutil.copy(play, path)
    config = parse(path)
    run(config, tmp_path / "run")
    (tmp_path / "run" / "result.json").unlink()
    path.write_text(path.read_text() + "more\n")
    with pytest.raises(InputError, match="the data had the fingerprint"):
        run(config, tmp_path / "run")
