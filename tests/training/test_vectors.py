"""Runs with pretrained embeddings: initialization, manifest and resumption."""

import json
import os
import signal
import sys

import jax
import numpy as np
import pytest

from rnnjax import training
from rnnjax.errors import InputError
from rnnjax.reporting.metrics_log import MetricsLog
from rnnjax.tasks.classification.data import load_corpus
from rnnjax.tasks.classification.task import ClassificationTask
from rnnjax.training import loop
from rnnjax.training.replicates import make_replicates
from rnnjax.training.run_folder import RunFolder

from .small_runs import (
    KEYWORDS,
    assert_trees_equal,
    initial_state,
    news_config,
    read_files,
    read_metrics,
    restore_state,
)

run_module = sys.modules["rnnjax.training.launch"]

WORDS = [*" ".join(KEYWORDS.values()).split(), "the", "of", "elsewhere"]
COVERED = {*WORDS} - {"elsewhere"}
ONE_EPOCH = {"epochs": 1, "model__cell": "SimpleCell", "data__buckets": 1}


def run(config, workdir):
    return training.train(config, "small", workdir, "python -m rnnjax.main")


def write(path, seed):
    """Writes vectors of some of the corpus' words and of one other."""
    rows = np.random.default_rng(seed).standard_normal((len(WORDS), 6)).round(3).astype(np.float32)
    text = [f"{word} {' '.join(map(str, row))}\n" for word, row in zip(WORDS, rows, strict=True)]
    path.write_text("".join(text))
    return dict(zip(WORDS[::-1], rows[::-1], strict=True))  # of a word that comes twice, the first


@pytest.fixture
def vectors(tmp_path):
    """The file of vectors and what it holds."""
    path = tmp_path / "vectors.txt"
    return path, write(path, 0)


def stopped(monkeypatch, config, workdir, last):
    """Runs until a signal comes in a step."""

    class Interrupting(loop.Progress):
        def update(self, step, *args, **options):
            super().update(step, *args, **options)
            if step >= last:
                os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "Progress", Interrupting)
        with pytest.raises(training.InterruptedRunError):
            run(config, workdir)


def assert_begins_with(table, words, rows, random):
    """Fails unless rows of words with a vector are that, and the others those of another table."""
    for number, word in enumerate([*words, *[""] * (len(table) - len(words))]):
        expected = rows[word] if word in rows else random[number]
        np.testing.assert_array_equal(table[number], expected, err_msg=word)


def test_frozen_embedding_is_unchanged_and_the_rest_is_trained(news, tmp_path, vectors):
    path, rows = vectors
    changes = {**ONE_EPOCH, "optimizer__weight_decay": 0.1, "averaging__decay": 0.9}
    config = news_config(
        news, **changes, model__embedding__path=str(path), model__embedding__trainable=False
    )
    run(config, tmp_path / "run")
    random = initial_state(news_config(news, **changes)).params
    words = RunFolder(tmp_path / "run").tokenizer.read_text()
    words = sorted(vocab := json.loads(words)["model"]["vocab"], key=vocab.get)
    state = restore_state(config, tmp_path / "run")
    assert state.average is not None
    for params in (state.params, state.average):
        assert_begins_with(params["embed"]["embedding"], words, rows, random["embed"]["embedding"])
        assert not np.array_equal(params["score"]["kernel"], random["score"]["kernel"])
    report = json.loads((tmp_path / "run" / "environment.json").read_text())["data"]["vectors"]
    assert report["words"] == len(COVERED) < len(words) - 2
    assert report["share_of_vocabulary"] == len(COVERED) / (len(words) - 2)
    assert 0.3 < report["share_of_tokens"] < 0.7
    assert json.loads((tmp_path / "run" / "result.json").read_text())["data"]["vectors"] == report
    assert report["fingerprint"] in (tmp_path / "run" / "report.html").read_text()


def test_resumed_and_loaded_runs_need_no_file_of_vectors(news, tmp_path, vectors, monkeypatch):
    path, _ = vectors
    config = news_config(news, **ONE_EPOCH, averaging__decay=0.9, model__embedding__path=str(path))
    run(config, tmp_path / "whole")
    stopped(monkeypatch, config, tmp_path / "run", 5)
    path.unlink()
    run(config, tmp_path / "run")
    state, expected_state = (restore_state(config, tmp_path / name) for name in ("run", "whole"))
    assert_trees_equal(state, expected_state)
    assert read_metrics(tmp_path / "run") == read_metrics(tmp_path / "whole")
    result, expected = (
        json.loads((tmp_path / name / "result.json").read_text()) for name in ("run", "whole")
    )
    assert result["data"] == expected["data"]
    assert expected_state.average is not None
    table = expected_state.params["embed"]["embedding"]
    assert not np.array_equal(table, expected_state.average["embed"]["embedding"])
    assert_trees_equal(training.load_run(tmp_path / "run").params, expected_state.average)
    run(config, tmp_path / "run")


def test_changed_vectors_are_refused_after_the_first_step(news, tmp_path, vectors, monkeypatch):
    path, _ = vectors
    workdir = tmp_path / "run"
    config = news_config(news, **ONE_EPOCH, model__embedding__path=str(path))

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    def recorded():
        return RunFolder(workdir).read_data()["vectors"]["fingerprint"]

    fingerprints = []
    for seed in (0, 1):
        write(path, seed)
        with monkeypatch.context() as patch:
            patch.setattr(run_module, "run_loop", interrupt)
            with pytest.raises(KeyboardInterrupt):
                run(config, workdir)
        fingerprints.append(recorded())
    assert len(set(fingerprints)) == 2
    MetricsLog(workdir / "metrics.jsonl").write({"step": 3})
    write(path, 2)
    files = read_files(workdir)
    with pytest.raises(InputError, match=r"the file of vectors is now .* bring back the file"):
        run(config, workdir)
    assert read_files(workdir) == files


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "there is no file"), ("the 1 2 3\n", "vectors of 3 numbers"), ("the\n", "line 1")],
)
def test_unusable_file_is_refused_before_any_work(news, tmp_path, monkeypatch, content, message):
    path = tmp_path / "vectors.txt"
    if content:
        path.write_text(content)

    def load(config):
        raise AssertionError("the corpus is prepared")

    monkeypatch.setattr(ClassificationTask, "load_corpus", staticmethod(load))
    with pytest.raises(InputError, match=message):
        run(news_config(news, model__embedding__path=str(path)), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_damaged_line_is_refused_without_a_folder(news, tmp_path, vectors):
    path, _ = vectors
    path.write_text(path.read_text() + "cut 0.1 0.\n")
    with pytest.raises(InputError, match=f"line {len(WORDS) + 1}: 'cut 0.1 0.' has 2 numbers"):
        run(news_config(news, model__embedding__path=str(path)), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_replicates_start_with_the_vectors_of_their_vocabularies(news, tmp_path, vectors):
    path, rows = vectors
    held_out = {"data__validation": 0.2, "data__take": 40, "data__bucketing": False}
    options = {**ONE_EPOCH, **held_out, "learning_rate": 1e-30, "data__shuffle": False}
    config = news_config(news, **options, replicates=2, model__embedding__path=str(path))
    run(config, tmp_path / "run")
    replicates = make_replicates(
        config, RunFolder(tmp_path / "run"), load_corpus(config.data), is_new=False
    )
    assert all(replicate.vectors is None for replicate in replicates)
    vocabularies = [replicate.dataset.vocabulary for replicate in replicates]
    first, second = (vocabulary.words for vocabulary in vocabularies if vocabulary)
    assert first != second
    for replicate, words in zip(replicates, (first, second), strict=True):
        single = news_config(news, **{**options, "seed": replicate.config.seed})
        random = initial_state(single).params
        folder = tmp_path / "run" / f"seed-{single.seed}"
        params = restore_state(single, folder).params
        assert_begins_with(params["embed"]["embedding"], words, rows, random["embed"]["embedding"])
        report = RunFolder(folder).read_data()["vectors"]
        assert report["words"] == len(COVERED & {*words})
        np.testing.assert_array_equal(
            jax.tree.leaves(params["score"])[1], jax.tree.leaves(random["score"])[1]
        )
