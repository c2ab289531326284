"""Runs of translators: scores, resumption, replicates and translation."""

import random
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from command_line import run_command

from rnnjax import training
from rnnjax.errors import InputError
from rnnjax.tasks.translation.task import TranslationTask

from .small_runs import (
    assert_trees_equal,
    make_config,
    read_json,
    read_metrics,
    train,
    train_until_killed,
)

pytest.importorskip("sacrebleu", reason="translations are scored by sacrebleu, an extra")

WORDS = {"eins": "one", "zwei": "two", "drei": "three", "vier": "four", "acht": "eight"}
COUNTS = {"train": 48, "val": 9, "test_2016_flickr": 11}
NUMERALS_CONFIG: dict[str, Any] = {
    "task": "translation",
    "seed": 3,
    "epochs": 2,
    "batch_size": 8,
    "learning_rate": 0.02,
    "log_every": 3,
    "data": {"vocabulary": {"size": 20}},
    "model": {"cell": "GRUCell", "features": 9, "embedding": {"features": 6, "tied": True}},
    "translation": {"source": "de", "target": "en", "beam_size": 2},
    "checkpoint": {"every": 0},
}
STOCHASTIC = {
    "model__dropout": 0.2,
    "translation__scheduled_sampling": 0.9,
    "translation__scheduled_sampling_steps": 9,
    "translation__beam_size": 1,
    "steps_per_call": 3,
    "averaging__decay": 0.9,
    "checkpoint__every": 4,
}
"""All random draws of a step, and all that depends on earlier steps."""


@pytest.fixture(scope="module")
def numerals(tmp_path_factory) -> Path:
    """A folder of pairs: numerals in German and English, of one to six words."""
    generator = random.Random(2)
    folder = tmp_path_factory.mktemp("numerals")
    for name, count in COUNTS.items():
        rows = [generator.choices(sorted(WORDS), k=generator.randint(1, 6)) for _ in range(count)]
        languages = {"de": rows, "en": [[WORDS[word] for word in row] for row in rows]}
        for language, texts in languages.items():
            text = "".join(" ".join(row) + "\n" for row in texts)
            (folder / f"{name}.{language}").write_text(text, encoding="utf-8")
    return folder


def numerals_config(numerals: Path, **overrides):
    return make_config(NUMERALS_CONFIG, **{"data__dir": str(numerals), **overrides})


@pytest.fixture(scope="module")
def finished(numerals, tmp_path_factory) -> Path:
    """The folder of a finished run."""
    workdir = tmp_path_factory.mktemp("runs") / "numerals"
    changes = {"translation__label_smoothing": 0.1, "early_stopping__patience": 12}
    train(numerals_config(numerals, epochs=12, **changes), workdir)
    return workdir


@pytest.fixture(scope="module")
def uninterrupted(numerals, tmp_path_factory) -> Path:
    """The folder of an uninterrupted run of `STOCHASTIC`."""
    workdir = tmp_path_factory.mktemp("runs") / "uninterrupted"
    train(numerals_config(numerals, **STOCHASTIC), workdir)
    return workdir


def test_run_has_scores_examples_and_a_report(finished, numerals):
    result, last = read_json(finished / "result.json"), read_metrics(finished)[-1]
    test = result["test"]
    assert test["rows"] == COUNTS["test_2016_flickr"]
    assert test["perplexity"] == pytest.approx(np.exp(test["loss"]))
    references = (numerals / "test_2016_flickr.en").read_text().splitlines()
    assert test["tokens"] == sum(len(text.split()) + 1 for text in references)
    assert test["unknown_share"] == last["unknown_share"] == 0
    assert last["bleu"] == test["bleu"]
    assert 0 < test["chrf"] <= 100
    assert result["validation"]["loss"] < read_metrics(finished)[0]["loss"]
    first, *_ = examples = result["translation"]["examples"]
    assert [example["reference"] for example in examples] == references[:8]
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


def test_translations_of_the_validation_split_are_examples(finished, numerals):
    run = training.load_run(finished)
    dataset = TranslationTask.make_dataset(
        run.config, TranslationTask.load_corpus(run.config), run.vocabulary
    )
    texts = run.task.example_texts(run.config, dataset, run.params)
    sources, references = (
        (numerals / f"val.{language}").read_text().splitlines()[:8] for language in ("de", "en")
    )
    translations = [translation.text for translation in run.translate(sources)]
    expected = zip(sources, references, translations, strict=True)
    assert [*texts.values()] == ["\n".join(lines) for lines in expected]
    assert "translation 8" in texts


def test_resumed_run_equals_uninterrupted_run(numerals, uninterrupted, tmp_path):
    config, workdir = numerals_config(numerals, **STOCHASTIC), tmp_path / "resumed"
    train_until_killed(config, workdir, 6)
    assert train(config, workdir)["resumed_from"] == 4
    assert_trees_equal(training.load_run(workdir).params, training.load_run(uninterrupted).params)
    assert read_metrics(workdir) == read_metrics(uninterrupted)


def test_replicate_equals_the_run_of_its_seed(numerals, uninterrupted, tmp_path):
    seed = NUMERALS_CONFIG["seed"]
    result = train(numerals_config(numerals, seed=seed - 1, replicates=2, **STOCHASTIC), tmp_path)
    params, expected = (
        training.load_run(path).params for path in (tmp_path / f"seed-{seed}", uninterrupted)
    )
    for leaf, expected_leaf in zip(jax.tree.leaves(params), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(leaf, expected_leaf, rtol=1e-3, atol=1e-5)
    single = read_json(uninterrupted / "result.json")
    assert result["test"]["bleu"]["by_seed"][1] == pytest.approx(single["test"]["bleu"])


def test_translation_does_not_depend_on_other_texts(finished, numerals):
    run = training.load_run(finished)
    texts = (numerals / "test_2016_flickr.de").read_text().splitlines()
    translations = run.translate(texts)
    examples = read_json(finished / "result.json")["translation"]["examples"]
    assert [translation.text for translation in translations[:8]] == [
        example["text"] for example in examples
    ]
    for text, translation in zip(texts, translations, strict=True):
        (alone,) = run.translate([text])
        assert alone.text == translation.text
        assert alone.score == pytest.approx(translation.score, rel=1e-4)
        shape = len(translation.tokens), len(translation.source_tokens)
        assert translation.attention.shape == shape
    assert len({translation.text for translation in translations}) > 1
    with pytest.raises(InputError, match="beam_size: given -1"):
        run.translate(texts, beam_size=-1)


def test_translate_command_prints_translations_and_attention(finished, tmp_path):
    run = training.load_run(finished)
    texts = ["eins zwei", "drei", "elf"]
    expected = run.translate(texts, beam_size=1)
    flags = "--workdir", str(finished), "--beam_size", "1", "--attention"
    stdin = "\n".join([*texts, ""]).encode() + b"\xff"
    result = run_command("translate", *flags, folder=tmp_path, stdin=stdin)
    assert result.status == 2  # texts before the mistake are translated
    assert "standard input, line 4: is not UTF-8" in result.err
    assert (
        "1 of 3 texts are empty or have tokens that the network does not know, 'elf'" in result.err
    )
    printed = iter(result.out.splitlines())
    for translation in expected:
        assert next(printed) == translation.text
        for token, row in zip(translation.tokens, translation.attention, strict=True):
            best = row.argmax()
            assert next(printed).split() == [
                token,
                f"{row[best]:.2f}",
                translation.source_tokens[best],
            ]
    assert next(printed, None) is None


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        (lambda run: next(run.predictions(["a"])), "answers neither texts nor files"),
        (lambda run: run.evaluate(Path("a.txt")), "reads no files, and a.txt was given"),
        (lambda run: run.generate("a", 3), "generates no text"),
        (lambda run: run.stream(), "has no output after each token of a text"),
        (lambda run: run.inspect(["a"]), "has no output after each token of a text"),
    ],
)
def test_query_of_another_task_is_refused_with_the_command(finished, query, reason):
    with pytest.raises(InputError) as error:
        query(training.load_run(finished))
    assert str(error.value) == (
        f"{finished} holds a run of the task 'translation', which {reason}; it can be used with "
        f'`python -m rnnjax.translate --workdir={finished} "text"`'
    )


def test_missing_sacrebleu_is_reported_before_any_work(numerals, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "sacrebleu", None)
    with pytest.raises(InputError, match=r"pip install 'rnnjax\[translate\]'"):
        train(numerals_config(numerals), tmp_path / "run")
    assert not (tmp_path / "run").exists()
