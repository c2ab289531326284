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
from rnnjax.data.labelled import load_corpus, make_dataset
from rnnjax.errors import InputError
from rnnjax.reporting import files, run_files
from rnnjax.training.folder import RunFolder

from .small import DAMAGES, assert_same, damage_file, parse, saved, snapshot

pytest_plugins = ["training.small"]

run_module = sys.modules["rnnjax.training.run"]
ONE = {
    "epochs": 1,
    "model__cell": "SimpleCell",
    "data__buckets": 1,
    "data__take": 64,
    "checkpoint__every": 3,
}
NAMES = ("config.json", "environment.json", "tokenizer.json", "metrics.jsonl", "result.json")


def run(config, workdir):
    return training.run(config, "small", workdir, "python -m rnnjax.main")


@pytest.fixture(scope="module")
def trained(news, tmp_path_factory):
    """The folders of a run and of another of the same config."""
    folder = tmp_path_factory.mktemp("trained")
    for name in ("run", "again"):
        run(parse(news, **ONE), folder / name)
    return folder


@pytest.fixture
def copy(trained, tmp_path):
    return shutil.copytree(trained / "run", tmp_path / "copy")


def answers(folder):
    """Everything that an answer of a trained run follows from."""
    loaded = training.TrainedRun.load(folder)
    arrays = [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(loaded.params)]
    return arrays, loaded.config, loaded.data, loaded.numbering.to_json(), loaded.step


READERS = {"answers": answers, "report and compare": run_files.read}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", NAMES)
def test_a_damaged_file_is_refused_by_name_or_nothing_changes(trained, copy, name, reader):
    read, draw, refused = READERS[reader], random.Random(name), 0
    expected, whole = read(copy), (copy / name).read_bytes()
    damages = [*(["bit-flipped"] * 20), *DAMAGES]
    for how in damages:
        damage_file(draw, copy / name, how)
        said = ""
        try:
            found = read(copy)
        except InputError as error:
            said = str(error)
        named = str(copy) in said and name in said
        assert named or (not said and found == expected), (how, said)
        refused += bool(said)
        (copy / name).write_bytes(whole)
    # The metrics bear on no answer; without its result a run has not ended, and is asked as well.
    unread = reader == "answers" and name == "result.json"
    assert refused >= len(damages) - unread - 4  # white space of JSON may change


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", ["environment.json", "result.json"])
def test_a_file_of_another_run_is_refused(trained, copy, name, reader):
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
def test_an_edited_config_is_refused(news, copy, old, new):
    path = copy / "config.json"
    text = path.read_text()
    path.write_text(text.replace(old, new))
    assert path.read_text() != text
    with pytest.raises(InputError, match=r"config\.json is damaged \(its digest is not the one in"):
        training.TrainedRun.load(copy)
    with pytest.raises(InputError, match="a run of another config"):
        run(parse(news, **ONE), copy)


@pytest.mark.parametrize("name", ["environment.json", "tokenizer.json"])
def test_a_run_does_not_go_on_with_a_damaged_file(news, copy, name):
    (copy / "result.json").unlink()
    content = bytearray((copy / name).read_bytes())
    content[content.rindex(b"e")] ^= 1
    (copy / name).write_bytes(content)
    before = snapshot(copy)
    with pytest.raises(InputError, match=rf"{name} is damaged \(its digest"):
        run(parse(news, **ONE), copy)
    assert snapshot(copy) == before


@pytest.fixture(scope="module")
def interrupted(news, tmp_path_factory):
    """The folder of a run with a checkpoint of step 3 of 4, and metrics of all of them."""
    workdir = tmp_path_factory.mktemp("interrupted") / "run"
    run(parse(news, log_every=1, **ONE), workdir)
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
def test_a_run_does_not_go_on_with_damaged_metrics(news, interrupted, tmp_path, change):
    copy = shutil.copytree(interrupted, tmp_path / "copy")
    lines = (copy / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    changed = METRICS_DAMAGES[change](lines)
    assert changed != lines
    (copy / "metrics.jsonl").write_bytes(b"".join(changed))
    before = snapshot(copy)
    with pytest.raises(InputError, match=r"metrics\.jsonl(, line 1: | is damaged \(it is )"):
        run(parse(news, log_every=1, **ONE), copy)
    assert snapshot(copy) == before


def test_metrics_after_a_checkpoint_may_be_cut_or_lost(news, interrupted, tmp_path):
    ends = []
    for cut in (0, 10, -1):
        copy = shutil.copytree(interrupted, tmp_path / f"copy{cut}")
        lines = (copy / "metrics.jsonl").read_bytes().splitlines(keepends=True)
        if cut >= 0:
            (copy / "metrics.jsonl").write_bytes(b"".join(lines[:3]) + lines[3][:cut])
        run(parse(news, log_every=1, **ONE), copy)
        ends.append((copy / "metrics.jsonl").read_bytes())
    assert ends == [(interrupted / "metrics.jsonl").read_bytes()] * 3


def move(before, after):
    shutil.rmtree(after, ignore_errors=True)
    shutil.copytree(before, after)


@pytest.mark.parametrize(
    ("of", "step", "says"),
    [
        ("run", "3", "it was saved as that of step 3"),
        ("again", "4", "it was saved by another run"),
    ],
)
def test_a_checkpoint_from_elsewhere_is_passed_over(trained, copy, capfd, of, step, says):
    move(trained / of / "checkpoints" / step, copy / "checkpoints" / "4")
    loaded = training.TrainedRun.load(copy)
    said = capfd.readouterr().err
    assert f"the checkpoint of step 4 is damaged ({says}); that of step 3 is used" in said
    shutil.rmtree(copy / "checkpoints" / "4")
    assert_same(loaded.params, training.TrainedRun.load(copy).params)


def test_swapped_checkpoints_are_refused(trained, copy):
    for step, other in itertools.permutations(("3", "4")):
        move(trained / "run" / "checkpoints" / step, copy / "checkpoints" / other)
    with pytest.raises(InputError, match=r"every checkpoint is damaged \(steps 3, 4; .* step 3"):
        training.TrainedRun.load(copy)


def killed(*_, **__):
    raise KeyboardInterrupt


def test_data_mended_before_the_first_step_is_read_with_its_own_vocabulary(
    news, tmp_path, monkeypatch
):
    folder, workdir = shutil.copytree(news, tmp_path / "news"), tmp_path / "run"
    config = parse(folder, **ONE)
    monkeypatch.setattr(run_module, "train", killed)
    found = []
    for word in ("gaol", "penalty"):
        with pytest.raises(KeyboardInterrupt):
            run(config, workdir)
        _, manifest = RunFolder(workdir).read()
        made = make_dataset(config, load_corpus(config))
        assert manifest.data.fingerprint == made.corpus.fingerprint
        vocabulary = RunFolder(workdir).read_vocabulary()
        assert vocabulary is not None
        assert vocabulary.to_json() == made.vocabulary.to_json()
        found.append(manifest.data.fingerprint)
        path = folder / "train.csv"
        path.write_text(path.read_text().replace("goal", word).replace("gaol", word))
    assert found[0] != found[1]
    (workdir / "metrics.jsonl").write_text(json.dumps({"step": 3, "split": "train"}) + "\n")
    before = snapshot(workdir)
    with pytest.raises(InputError, match=f"fingerprint {found[1][:12]}, and the data is now "):
        run(config, workdir)
    assert snapshot(workdir) == before


def test_a_run_that_is_killed_at_each_of_its_writes_ends_as_if_nothing_had_been(
    news, trained, tmp_path, monkeypatch
):
    config, workdir, write = parse(news, **ONE), tmp_path / "run", files.write_text
    for last in ("config.json", "tokenizer.json", "environment.json", "result.json"):
        for after in (False, True):

            def interrupted(path, text, last=last, after=after):
                if path.name != last or after:
                    write(path, text)
                if path.name == last:
                    raise KeyboardInterrupt

            with monkeypatch.context() as patch:
                for module in (files, run_files, sys.modules["rnnjax.reporting.report"]):
                    patch.setattr(module, "write_text", interrupted)
                with pytest.raises(KeyboardInterrupt):
                    run(config, workdir)
    run(config, workdir)
    assert_same(saved(config, workdir), saved(config, trained / "run"))
    for name in ("config.json", "tokenizer.json", "metrics.jsonl"):
        assert (workdir / name).read_bytes() == (trained / "run" / name).read_bytes()
    run_files.read(workdir)
