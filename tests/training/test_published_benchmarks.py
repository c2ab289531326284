"""Runs of language models on separate files, scored as published benchmarks are."""

import json
import math
import random
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rnnjax import config as config_lib
from rnnjax import training
from rnnjax.data.vocabulary import END, UNKNOWN
from rnnjax.errors import InputError
from rnnjax.tasks.language_modeling.trained_run import TrainedLanguageModel

from .small_runs import make_config, read_json, train, train_until_killed

CONFIG = {
    "task": "language_modeling",
    "batch_size": 3,
    "learning_rate": 0.01,
    "data": {"sequence_length": 5, "vocabulary": {"unit": "whitespace", "size": 14}},
    "model": {"cell": "LSTMCell", "features": 8, "embedding": {"features": 6}},
    "checkpoint": {"every": 0},
}
WORDS = ["the", "king", "is", "here", ",", "and", "so", "art", "thou", "<unk>", "Zo\u00eb"]
LINES = {"train": 60, "valid": 13, "test": 11}


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """A folder with train.txt, valid.txt and test.txt of lines of words."""
    folder, generator = tmp_path_factory.mktemp("texts"), random.Random(1)
    for part, count in LINES.items():
        lines = [" ".join(generator.choices(WORDS, k=4)) for _ in range(count)]
        if part != "train":
            lines[3] = "a new word"
        (folder / f"{part}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def files_config(texts, **overrides):
    """Returns a config of the three files."""
    files = {
        "data__file": "train.txt",
        "data__validation_file": "valid.txt",
        "data__test_file": "test.txt",
    }
    paths = {key: str(texts / name) for key, name in files.items()}
    return make_config(CONFIG, **{**paths, **overrides})


@pytest.fixture(scope="module")
def finished(texts, tmp_path_factory):
    """The folder of a finished run."""
    workdir = tmp_path_factory.mktemp("runs") / "run"
    train(files_config(texts), workdir)
    return workdir


def loss_in_one_pass(run, path):
    """Returns the mean loss (nats) of all tokens but the first, read at once from the start."""
    words = path.read_text(encoding="utf-8").replace("\n", " <eos> ").split()
    ids = {word: number for number, word in enumerate(run.vocabulary.words)}
    tokens = np.array([ids.get(word, UNKNOWN) for word in words], np.int32)
    inputs, targets = tokens[None, :-1], tokens[None, 1:]
    mask = np.ones_like(inputs, bool)
    _, logits = run.task.model.apply({"params": run.params}, inputs, mask)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, jnp.asarray(targets))
    return float(losses.mean()), len(words) - 1, float(np.mean(tokens == UNKNOWN))


@pytest.mark.parametrize(("part", "name"), [("validation", "valid.txt"), ("test", "test.txt")])
def test_scores_are_those_of_one_pass_over_the_part(finished, texts, part, name):
    run = training.load_run(finished)
    assert isinstance(run, TrainedLanguageModel)
    scores = read_json(finished / "result.json")[part]
    loss, tokens, unknown_share = loss_in_one_pass(run, texts / name)
    assert scores["rows"] == tokens == 5 * LINES[name[:-4]] - 1 - 1  # one line has three words
    assert scores["loss"] == pytest.approx(loss, rel=1e-5)
    assert scores["perplexity"] == pytest.approx(math.exp(loss), rel=1e-5)
    assert scores["unknown_share"] == pytest.approx(unknown_share)
    assert "bits_per_byte" not in scores
    assert run.evaluate(texts / name) == scores


def test_batches_decide_nothing(finished, texts, tmp_path):
    run = training.load_run(finished)
    scores = run.evaluate(texts / "test.txt")
    for batch_size, length in ((1, 1), (2, 50)):
        update = {"batch_size": batch_size}
        data = run.config.data.model_copy(update={"sequence_length": length})
        config = run.config.model_copy(update={**update, "data": data})
        object.__setattr__(run, "config", config)
        assert run.evaluate(texts / "test.txt")["loss"] == pytest.approx(scores["loss"], rel=1e-6)


@pytest.mark.parametrize("unit", ["character", "subword"])
def test_bits_by_characters_and_bytes_of_the_raw_text(texts, tmp_path, unit):
    config = files_config(texts, data__vocabulary__unit=unit, data__vocabulary__size=60)
    test = train(config, tmp_path / "run")["test"]
    text = (texts / "test.txt").read_text(encoding="utf-8")
    bits = test["rows"] * test["loss"] / math.log(2)
    assert test["bits_per_character"] == pytest.approx(bits / len(text))
    assert test["bits_per_byte"] == pytest.approx(bits / len(text.encode()))
    assert len(text.encode()) > len(text)
    assert (unit == "character") == (test["rows"] == len(text) + 1)


def test_unknown_shares_of_all_parts_are_said(finished, texts, run_in_process):
    path = texts / "valid.txt"
    result = run_in_process("evaluate", f"--workdir={finished}", f"--data={path}")
    assert result.status == 0, result.err
    run = training.load_run(finished)
    result_file = read_json(finished / "result.json")
    shares = [
        run.data["unknown_share"],
        *(result_file[n]["unknown_share"] for n in LINES_OF_RESULT),
    ]
    assert shares[0] > 0
    assert json.loads(result.out)["unknown_share"] == shares[1]
    assert result.err.endswith(
        f"unknown tokens: {shares[1]:.1%} of valid.txt, {shares[0]:.1%} of the training part, "
        f"{shares[1]:.1%} of the validation part, {shares[2]:.1%} of the test part\n"
    )


LINES_OF_RESULT = ("validation", "test")


def test_resumed_run_equals_uninterrupted_run(finished, texts, tmp_path):
    config = files_config(texts)
    train_until_killed(config, tmp_path / "run", 6)
    moved = tmp_path / "moved"
    shutil.copytree(texts, moved)
    train(files_config(moved), tmp_path / "run")  # of equal content
    results = [read_json(folder / "result.json") for folder in (tmp_path / "run", finished)]
    assert results[0]["test"] == results[1]["test"]
    expected = training.load_run(finished).params
    actual = training.load_run(tmp_path / "run").params
    for leaf, expected_leaf in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(leaf, expected_leaf)


@pytest.mark.parametrize("name", ["valid.txt", "test.txt"])
def test_changed_file_is_refused(texts, tmp_path, name):
    copies = tmp_path / "copies"
    shutil.copytree(texts, copies)
    config = files_config(copies, checkpoint__every=4)
    train_until_killed(config, tmp_path / "run", 6)
    with (copies / name).open("a", encoding="utf-8") as file:
        file.write("more\n")
    with pytest.raises(InputError, match="the data had the fingerprint"):
        train(config, tmp_path / "run")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"test_file": "x"}, r"data\.test_file is set and data\.file is ''"),
        ({"validation_file": "x"}, r"data\.validation_file is set and data\.file is ''"),
        (
            {"file": "y", "validation_file": "x", "validation": 0.1},
            r"data\.validation_file is set and data\.validation is 0\.1",
        ),
    ],
)
def test_files_that_do_not_go_together_are_refused(values, message):
    with pytest.raises(InputError, match=message):
        config_lib.parse({"task": "language_modeling", "data": values})


def test_validation_file_is_a_validation_split():
    data = {"file": "y", "validation_file": "x"}
    values = {"task": "language_modeling", "data": data, "early_stopping": {"patience": 2}}
    assert config_lib.parse(values).validated


def test_generated_text_goes_on_after_the_end_of_a_line(finished):
    run = training.load_run(finished)
    text = "".join(run.generate("the king", 60))
    assert "\n" in text
    assert text[0] in " \n"
    assert "\n " not in text
    assert " \n" not in text
    assert END not in run.text_vocabulary.encode(text.split("\n")).values
