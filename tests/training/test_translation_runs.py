"""Runs of translators: through the one loop, resumed exactly, asked for translations."""

import json
import random
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from rnnjax import config as schema
from rnnjax import training
from rnnjax.errors import InputError
from rnnjax.interrupt import InterruptedRunError
from rnnjax.training import loop

from .small import assert_same, changed, lines, typed

pytest.importorskip("sacrebleu", reason="translations are judged by sacrebleu, an extra")

WORDS = {"eins": "one", "zwei": "two", "drei": "three", "vier": "four", "acht": "eight"}
COUNTS = {"train": 48, "val": 9, "test_2016_flickr": 11}
SMALL: dict[str, Any] = {
    "task": "translation",
    "seed": 3,
    "epochs": 2,
    "batch_size": 8,
    "learning_rate": 0.02,
    "log_every": 3,
    "data": {"vocabulary": {"size": 20}},
    "model": {"cell": "GRUCell", "features": 9, "embedding": {"features": 6, "tied": True}},
    "translation": {"source": "de", "target": "en", "beam_size": 2},
    "checkpoint": {"every": 4},
}
DRAWING = {
    "model__dropout": 0.2,
    "translation__scheduled_sampling": 0.9,
    "translation__scheduled_sampling_steps": 9,
    "translation__beam_size": 1,
    "steps_per_call": 3,
    "averaging__decay": 0.9,
}
"""All that a step draws or knows of those before it."""


@pytest.fixture(scope="module")
def counted(tmp_path_factory) -> Path:
    """A folder of pairs: numbers in words, German and English, of one to six words."""
    draw = random.Random(2)
    folder = tmp_path_factory.mktemp("counted")
    for name, count in COUNTS.items():
        rows = [draw.choices(sorted(WORDS), k=draw.randint(1, 6)) for _ in range(count)]
        sides = {"de": rows, "en": [[WORDS[word] for word in row] for row in rows]}
        for language, texts in sides.items():
            text = "".join(" ".join(row) + "\n" for row in texts)
            (folder / f"{name}.{language}").write_text(text, encoding="utf-8")
    return folder


def parse(counted: Path, **changes) -> schema.Config:
    """Returns the small config on a folder, changed as `changed` does."""
    return changed(SMALL, **{"data__dir": str(counted), **changes})


def run(config: schema.Config, workdir: Path) -> dict:
    """Returns the result of a run."""
    return training.train(config, "counted", workdir, "python -m rnnjax.main --config=counted.py")


@pytest.fixture(scope="module")
def finished(counted, tmp_path_factory) -> Path:
    """The folder of a finished run."""
    workdir = tmp_path_factory.mktemp("runs") / "counted"
    changes = {"translation__label_smoothing": 0.1, "early_stopping__patience": 12}
    run(parse(counted, epochs=12, checkpoint__every=0, **changes), workdir)
    return workdir


@pytest.fixture(scope="module")
def whole(counted, tmp_path_factory) -> Path:
    """The folder of a run that was not stopped."""
    workdir = tmp_path_factory.mktemp("runs") / "whole"
    run(parse(counted, **DRAWING), workdir)
    return workdir


def params_of(one: Path, other: Path) -> list[Any]:
    """Returns the parameters of two runs."""
    return [training.TrainedTranslator.load(each).params for each in (one, other)]


def test_a_run_leaves_scores_examples_and_a_report(finished, counted):
    result = json.loads((finished / "result.json").read_text())
    test = result["test"]
    assert test["rows"] == COUNTS["test_2016_flickr"]
    assert test["perplexity"] == pytest.approx(np.exp(test["loss"]))
    references = (counted / "test_2016_flickr.en").read_text().splitlines()
    assert test["tokens"] == sum(len(text.split()) + 1 for text in references)
    assert test["unknown_share"] == lines(finished)[-1]["unknown_share"] == 0
    assert lines(finished)[-1]["bleu"] == test["bleu"]
    assert 0 < test["chrf"] <= 100
    assert result["validation"]["loss"] < lines(finished)[0]["loss"]
    first, *_ = examples = result["translation"]["examples"]
    assert [each["reference"] for each in examples] == references[:8]
    assert first["read"] == first["source"].split()
    assert first["written"][-1] == "[END]"
    assert first["text"] == " ".join(first["written"][:-1])
    np.testing.assert_allclose(np.sum(first["attention"], axis=1), 1, atol=0.01)
    page = (finished / "report.html").read_text()
    assert "is the BLEU of 11 test texts" in page
    assert result["translation"]["signatures"]["bleu"] in page
    assert "tok:13a" in result["translation"]["signatures"]["bleu"]
    assert page.count('class="alignment"') == 8
    assert "rnnjax.translate" in page
    assert "rnnjax.predict" not in page


def test_a_run_taken_up_again_ends_as_one_that_was_not_stopped(
    counted, whole, tmp_path, monkeypatch
):
    real = loop.batch_group_at

    def stopping(members, step, most):
        if step >= 6:
            raise KeyboardInterrupt
        return real(members, step, most)

    config, workdir = parse(counted, **DRAWING), tmp_path / "cut"
    monkeypatch.setattr(loop, "batch_group_at", stopping)
    with pytest.raises((KeyboardInterrupt, InterruptedRunError)):
        run(config, workdir)
    monkeypatch.undo()
    assert run(config, workdir)["resumed_from"] == 4
    assert_same(*params_of(whole, workdir))
    assert lines(whole) == lines(workdir)


def test_replicates_are_as_single_runs(counted, whole, tmp_path):
    result = run(parse(counted, seed=SMALL["seed"] - 1, replicates=2, **DRAWING), tmp_path / "both")
    ours, theirs = params_of(tmp_path / "both" / f"seed-{SMALL['seed']}", whole)
    for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)
    single = json.loads((whole / "result.json").read_text())
    assert result["test"]["bleu"]["by_seed"][1] == pytest.approx(single["test"]["bleu"])


def test_a_translator_is_asked_for_texts_by_themselves(finished, counted):
    asked = training.TrainedTranslator.load(finished)
    texts = (counted / "test_2016_flickr.de").read_text().splitlines()
    together = asked.translate(texts)
    examples = json.loads((finished / "result.json").read_text())["translation"]["examples"]
    assert [each.text for each in together[:8]] == [each["text"] for each in examples]
    for text, each in zip(texts, together, strict=True):
        (alone,) = asked.translate([text])
        assert alone.text == each.text
        assert alone.score == pytest.approx(each.score, rel=1e-4)
        assert each.attention.shape == (len(each.written), len(each.read))
    assert len({each.text for each in together}) > 1
    with pytest.raises(InputError, match="beam: given -1"):
        asked.translate(texts, beam=-1)
    with pytest.raises(InputError, match="after any part of a text: classification, language_mod"):
        asked.stream()


def test_the_command_prints_translations_and_where_it_looked(finished, tmp_path):
    asked = training.TrainedTranslator.load(finished)
    expected = asked.translate(texts := ["eins zwei", "drei", "elf"], beam=1)
    given = "--workdir", str(finished), "--beam", "1", "--attention"
    stdin = "\n".join([*texts, ""]).encode() + b"\xff"
    ended = typed("translate", *given, folder=tmp_path, stdin=stdin)
    assert ended.status == 2  # what comes before the mistake is answered
    assert "standard input, line 4: is not UTF-8" in ended.err
    assert (
        "1 of 3 texts are empty or have tokens that the network does not know, 'elf'" in ended.err
    )
    printed = iter(ended.out.splitlines())
    for each in expected:
        assert next(printed) == each.text
        for token, row in zip(each.written, each.attention, strict=True):
            best = row.argmax()
            assert next(printed).split() == [token, f"{row[best]:.2f}", each.read[best]]
    assert next(printed, None) is None


def test_a_run_of_another_task_is_sent_to_its_command(finished):
    with pytest.raises(InputError, match=r"expected one of 'classification'; .*rnnjax\.translate"):
        training.TrainedClassifier.load(finished)


def test_a_lack_of_sacrebleu_is_told_before_anything_is_done(counted, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "sacrebleu", None)
    with pytest.raises(InputError, match=r"pip install 'rnnjax\[translate\]'"):
        run(parse(counted), tmp_path / "run")
    assert not (tmp_path / "run").exists()
