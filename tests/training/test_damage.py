"""Damaged files of a run: each is refused by name, or the answer is the same."""

import itertools
import json
import random
import shutil
import sys

import jax
import numpy as np
import pytest

from rnnjax import training
from rnnjax.errors import InputError
from rnnjax.reporting import atomic_files, run_files
from rnnjax.tasks import report_page
from rnnjax.tasks.classification.data import load_corpus, make_dataset
from rnnjax.training.run_folder import RunFolder

from .small_runs import (
    DAMAGES,
    assert_trees_equal,
    damage_file,
    news_config,
    read_files,
    restore_state,
)

run_module = sys.modules["rnnjax.training.launch"]
ONE = {
    "epochs": 1,
    "model__cell": "SimpleCell",
    "data__buckets": 1,
    "data__take": 64,
    "checkpoint__every": 3,
}
NAMES = ("config.json", "environment.json", "tokenizer.json", "metrics.jsonl", "result.json")


def run(config, workdir):
    return training.train(config, "small", workdir, "python -m rnnjax.main")


@pytest.fixture(scope="module")
def trained(news, tmp_path_factory):
    """The folders of a run and of another of the same config."""
    folder = tmp_path_factory.mktemp("trained")
    for name in ("run", "again"):
        run(news_config(news, **ONE), folder / name)
    return folder


@pytest.fixture
def copy(trained, tmp_path):
    return shutil.copytree(trained / "run", tmp_path / "copy")


def outputs(folder):
    """Returns everything that the outputs of a trained run depend on."""
    loaded_run = training.load_run(folder)
    arrays = [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(loaded_run.params)]
    return (
        arrays,
        loaded_run.config,
        loaded_run.data,
        loaded_run.text_vocabulary.to_json(),
        loaded_run.step,
    )


READERS = {"outputs": outputs, "report and compare": run_files.read}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", NAMES)
def test_damaged_file_is_refused_by_name_or_has_no_effect(trained, copy, name, reader):
    read, generator, refused = READERS[reader], random.Random(name), 0
    expected, content_before = read(copy), (copy / name).read_bytes()
    damages = [*(["bit-flipped"] * 20), *DAMAGES]
    for kind in damages:
        damage_file(generator, copy / name, kind)
        message = ""
        try:
            actual = read(copy)
        except InputError as error:
            message = str(error)
        named = str(copy) in message and name in message
        assert named or (not message and actual == expected), (kind, message)
        refused += bool(message)
        (copy / name).write_bytes(content_before)
    # The metrics bear on no answer; without its result a run has not ended, and is asked as well.
    unread = reader == "outputs" and name == "result.json"
    assert refused >= len(damages) - unread - 4  # white space of JSON may change


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", ["environment.json", "result.json"])
def test_file_of_another_run_is_refused(trained, copy, name, reader):
    shutil.copy(trained / "again" / name, copy)
    with pytest.raises(InputError, match=r"result\.json is damaged \(it is of another run than"):
        READERS[reader](copy)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"features": 8', '"features": 9'),
        ('"SimpleCell"', '"GRUCell"'),
        ('"text": "title+description"', '"text": "description"'),
    ],
)
def test_edited_config_is_refused(news, copy, old, new):
    path = copy / "config.json"
    text = path.read_text()
    path.write_text(text.replace(old, new))
    assert path.read_text() != text
    with pytest.raises(InputError, match=r"config\.json is damaged \(its digest is not the one in"):
        training.load_run(copy)
    with pytest.raises(InputError, match="a run of another config"):
        run(news_config(news, **ONE), copy)


@pytest.mark.parametrize("name", ["environment.json", "tokenizer.json"])
def test_damaged_file_is_refused_on_resumption(news, copy, name):
    (copy / "result.json").unlink()
    content = bytearray((copy / name).read_bytes())
    content[content.rindex(b"e")] ^= 1
    (copy / name).write_bytes(content)
    files = read_files(copy)
    with pytest.raises(InputError, match=rf"{name} is damaged \(its digest"):
        run(news_config(news, **ONE), copy)
    assert read_files(copy) == files


@pytest.fixture(scope="module")
def interrupted(news, tmp_path_factory):
    """The folder of a run with a checkpoint of step 3 of 4, and metrics of all of them."""
    workdir = tmp_path_factory.mktemp("interrupted") / "run"
    run(news_config(news, log_every=1, **ONE), workdir)
    shutil.rmtree(workdir / "checkpoints" / "4")
    (workdir / "result.json").unlink()
    return workdir


METRICS_DAMAGES = {
    "line deleted": lambda lines: lines[1:],
    "lines swapped": lambda lines: [lines[1], lines[0], *lines[2:]],
    "line repeated": lambda lines: [lines[0], *lines],
    "digit changed": lambda lines: [lines[0].replace(b'"loss": 1', b'"loss": 2'), *lines[1:]],
    "step moved behind": lambda lines: [lines[0].replace(b'"step": 1', b'"step": 9'), *lines[1:]],
    "step lost": lambda lines: [lines[0].replace(b'"step"', b'"stop"'), *lines[1:]],
    "split lost": lambda lines: [lines[0].replace(b'"split"', b'"spilt"'), *lines[1:]],
    "emptied": lambda lines: [],
}


@pytest.mark.parametrize("change", METRICS_DAMAGES)
def test_damaged_metrics_are_refused_on_resume(news, interrupted, tmp_path, change):
    copy = shutil.copytree(interrupted, tmp_path / "copy")
    lines = (copy / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    damaged = METRICS_DAMAGES[change](lines)
    assert damaged != lines
    (copy / "metrics.jsonl").write_bytes(b"".join(damaged))
    files = read_files(copy)
    with pytest.raises(InputError, match=r"metrics\.jsonl(, line 1: | is damaged \(it is )"):
        run(news_config(news, log_every=1, **ONE), copy)
    assert read_files(copy) == files


def test_metrics_after_a_checkpoint_are_logged_again(news, interrupted, tmp_path):
    ends = []
    for cut in (0, 10, -1):
        copy = shutil.copytree(interrupted, tmp_path / f"copy{cut}")
        lines = (copy / "metrics.jsonl").read_bytes().splitlines(keepends=True)
        if cut >= 0:
            (copy / "metrics.jsonl").write_bytes(b"".join(lines[:3]) + lines[3][:cut])
        run(news_config(news, log_every=1, **ONE), copy)
        ends.append((copy / "metrics.jsonl").read_bytes())
    assert ends == [(interrupted / "metrics.jsonl").read_bytes()] * 3


def move(source, target):
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)


@pytest.mark.parametrize(
    ("source", "step", "problem"),
    [
        ("run", "3", "it was saved as that of step 3"),
        ("again", "4", "it was saved by another run"),
    ],
)
def test_checkpoint_of_another_step_or_run_is_ignored(trained, copy, capfd, source, step, problem):
    move(trained / source / "checkpoints" / step, copy / "checkpoints" / "4")
    loaded_run = training.load_run(copy)
    message = capfd.readouterr().err
    assert f"the checkpoint of step 4 is damaged ({problem}); that of step 3 is used" in message
    shutil.rmtree(copy / "checkpoints" / "4")
    assert_trees_equal(loaded_run.params, training.load_run(copy).params)


def test_swapped_checkpoints_are_refused(trained, copy):
    for step, target in itertools.permutations(("3", "4")):
        move(trained / "run" / "checkpoints" / step, copy / "checkpoints" / target)
    with pytest.raises(InputError, match=r"every checkpoint is damaged \(steps 3, 4; .* step 3"):
        training.load_run(copy)


def interrupt(*_, **__):
    raise KeyboardInterrupt


def test_data_changed_before_the_first_step_gets_a_new_vocabulary(news, tmp_path, monkeypatch):
    folder, workdir = shutil.copytree(news, tmp_path / "news"), tmp_path / "run"
    config = news_config(folder, **ONE)
    monkeypatch.setattr(run_module, "run_loop", interrupt)
    actual = []
    for word in ("gaol", "penalty"):
        with pytest.raises(KeyboardInterrupt):
            run(config, workdir)
        _, manifest = RunFolder(workdir).read()
        dataset = make_dataset(config, load_corpus(config.data))
        assert manifest.data.fingerprint == dataset.corpus.fingerprint
        vocabulary = RunFolder(workdir).read_vocabulary()
        assert vocabulary is not None
        assert vocabulary.to_json() == dataset.vocabulary.to_json()
        actual.append(manifest.data.fingerprint)
        path = folder / "train.csv"
        path.write_text(path.read_text().replace("goal", word).replace("gaol", word))
    assert actual[0] != actual[1]
    (workdir / "metrics.jsonl").write_text(json.dumps({"step": 3, "split": "train"}) + "\n")
    files = read_files(workdir)
    with pytest.raises(InputError, match=f"fingerprint {actual[1][:12]}, and the data is now "):
        run(config, workdir)
    assert read_files(workdir) == files


def test_run_killed_at_each_of_its_writes_equals_uninterrupted_run(
    news, trained, tmp_path, monkeypatch
):
    config, workdir, write = news_config(news, **ONE), tmp_path / "run", atomic_files.write_text
    for last in ("config.json", "tokenizer.json", "environment.json", "result.json"):
        for is_after in (False, True):

            def interrupted(path, text, last=last, is_after=is_after):
                if path.name != last or is_after:
                    write(path, text)
                if path.name == last:
                    raise KeyboardInterrupt

            with monkeypatch.context() as patch:
                for module in (atomic_files, run_files, report_page):
                    patch.setattr(module, "write_text", interrupted)
                with pytest.raises(KeyboardInterrupt):
                    run(config, workdir)
    run(config, workdir)
    assert_trees_equal(restore_state(config, workdir), restore_state(config, trained / "run"))
    for name in ("config.json", "tokenizer.json", "metrics.jsonl"):
        assert (workdir / name).read_bytes() == (trained / "run" / name).read_bytes()
    run_files.read(workdir)
