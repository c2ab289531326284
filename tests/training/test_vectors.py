"""Runs that begin with word vectors: where these go, what is recorded, and when they are read."""

import json
import os
import signal
import sys

import jax
import numpy as np
import pytest

from rnnjax import training
from rnnjax.data.labelled_text import load_corpus
from rnnjax.errors import InputError
from rnnjax.reporting.metrics_log import MetricsLog
from rnnjax.tasks import ClassificationTask
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

HAVE = [*" ".join(KEYWORDS.values()).split(), "the", "of", "elsewhere"]
COVERED = {*HAVE} - {"elsewhere"}
ONE = {"epochs": 1, "model__cell": "SimpleCell", "data__buckets": 1}


def run(config, workdir):
    return training.train(config, "small", workdir, "python -m rnnjax.main")


def write(path, seed):
    """Writes vectors of some of the corpus' words and of one other."""
    rows = np.random.default_rng(seed).standard_normal((len(HAVE), 6)).round(3).astype(np.float32)
    text = [f"{word} {' '.join(map(str, row))}\n" for word, row in zip(HAVE, rows, strict=True)]
    path.write_text("".join(text))
    return dict(zip(HAVE[::-1], rows[::-1], strict=True))  # of a word that comes twice, the first


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


def test_a_frozen_embedding_ends_as_it_began_and_all_else_is_trained(news, tmp_path, vectors):
    path, rows = vectors
    given = {**ONE, "optimizer__weight_decay": 0.1, "averaging__decay": 0.9}
    config = news_config(
        news, **given, model__embedding__path=str(path), model__embedding__trainable=False
    )
    run(config, tmp_path / "run")
    random = initial_state(news_config(news, **given)).params
    words = RunFolder(tmp_path / "run").tokenizer.read_text()
    words = sorted(vocab := json.loads(words)["model"]["vocab"], key=vocab.get)
    state = restore_state(config, tmp_path / "run")
    assert state.average is not None
    for params in (state.params, state.average):
        assert_begins_with(params["embed"]["embedding"], words, rows, random["embed"]["embedding"])
        assert not np.array_equal(params["score"]["kernel"], random["score"]["kernel"])
    said = json.loads((tmp_path / "run" / "environment.json").read_text())["data"]["vectors"]
    assert said["words"] == len(COVERED) < len(words) - 2
    assert said["share_of_vocabulary"] == len(COVERED) / (len(words) - 2)
    assert 0.3 < said["share_of_tokens"] < 0.7
    assert json.loads((tmp_path / "run" / "result.json").read_text())["data"]["vectors"] == said
    assert said["fingerprint"] in (tmp_path / "run" / "report.html").read_text()


def test_a_run_that_goes_on_or_is_asked_needs_no_file(news, tmp_path, vectors, monkeypatch):
    path, _ = vectors
    config = news_config(news, **ONE, averaging__decay=0.9, model__embedding__path=str(path))
    run(config, tmp_path / "whole")
    stopped(monkeypatch, config, tmp_path / "run", 5)
    path.unlink()
    run(config, tmp_path / "run")
    ours, theirs = (restore_state(config, tmp_path / name) for name in ("run", "whole"))
    assert_trees_equal(ours, theirs)
    assert read_metrics(tmp_path / "run") == read_metrics(tmp_path / "whole")
    one, other = (
        json.loads((tmp_path / name / "result.json").read_text()) for name in ("run", "whole")
    )
    assert one["data"] == other["data"]
    assert theirs.average is not None
    table = theirs.params["embed"]["embedding"]
    assert not np.array_equal(table, theirs.average["embed"]["embedding"])
    assert_trees_equal(training.TrainedClassifier.load(tmp_path / "run").params, theirs.average)
    run(config, tmp_path / "run")


def test_a_run_without_a_step_begins_again_with_another_file_and_one_with_steps_is_refused(
    news, tmp_path, vectors, monkeypatch
):
    path, _ = vectors
    workdir = tmp_path / "run"
    config = news_config(news, **ONE, model__embedding__path=str(path))

    def killed(*_, **__):
        raise KeyboardInterrupt

    def recorded():
        return RunFolder(workdir).read_data()["vectors"]["fingerprint"]

    fingerprints = []
    for seed in (0, 1):
        write(path, seed)
        with monkeypatch.context() as patch:
            patch.setattr(run_module, "train", killed)
            with pytest.raises(KeyboardInterrupt):
                run(config, workdir)
        fingerprints.append(recorded())
    assert len(set(fingerprints)) == 2
    MetricsLog(workdir / "metrics.jsonl").write({"step": 3})
    write(path, 2)
    before = read_files(workdir)
    with pytest.raises(InputError, match=r"the file of vectors is now .* bring back the file"):
        run(config, workdir)
    assert read_files(workdir) == before


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "there is no file"), ("the 1 2 3\n", "vectors of 3 numbers"), ("the\n", "line 1")],
)
def test_a_file_that_cannot_be_used_is_told_before_any_work(
    news, tmp_path, monkeypatch, content, message
):
    path = tmp_path / "vectors.txt"
    if content:
        path.write_text(content)

    def load(config):
        raise AssertionError("the corpus is prepared")

    monkeypatch.setattr(ClassificationTask, "load", staticmethod(load))
    with pytest.raises(InputError, match=message):
        run(news_config(news, model__embedding__path=str(path)), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_damaged_line_leaves_no_folder(news, tmp_path, vectors):
    path, _ = vectors
    path.write_text(path.read_text() + "cut 0.1 0.\n")
    with pytest.raises(InputError, match=f"line {len(HAVE) + 1}: 'cut 0.1 0.' has 2 numbers"):
        run(news_config(news, model__embedding__path=str(path)), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_replicates_begin_each_with_the_vectors_of_its_own_words(news, tmp_path, vectors):
    path, rows = vectors
    held_out = {"data__validation": 0.2, "data__take": 40, "data__bucketing": False}
    options = {**ONE, **held_out, "learning_rate": 1e-30, "data__shuffle": False}
    config = news_config(news, **options, replicates=2, model__embedding__path=str(path))
    run(config, tmp_path / "run")
    members = make_replicates(
        config, RunFolder(tmp_path / "run"), load_corpus(config.data), is_new=False
    )
    assert all(member.vectors is None for member in members)
    vocabularies = [member.dataset.vocabulary for member in members]
    first, second = (each.words for each in vocabularies if each)
    assert first != second
    for member, words in zip(members, (first, second), strict=True):
        single = news_config(news, **{**options, "seed": member.config.seed})
        random = initial_state(single).params
        own = tmp_path / "run" / f"seed-{single.seed}"
        params = restore_state(single, own).params
        assert_begins_with(params["embed"]["embedding"], words, rows, random["embed"]["embedding"])
        said = RunFolder(own).read_data()["vectors"]
        assert said["words"] == len(COVERED & {*words})
        np.testing.assert_array_equal(
            jax.tree.leaves(params["score"])[1], jax.tree.leaves(random["score"])[1]
        )
