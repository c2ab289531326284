"""Runs that go on: for more epochs, over moved data, and from the parameters of another run."""

import json
import shutil
import sys

import jax
import numpy as np
import pytest

from rnnjax import training
from rnnjax.data.labelled import load_corpus, make_dataset
from rnnjax.errors import InputError
from rnnjax.training import loop
from rnnjax.training.checkpoint import Checkpoints

from .small import assert_same, lines, parse, saved, snapshot

pytest_plugins = ["training.small"]

run_module = sys.modules["rnnjax.training.run"]

UNEVEN = {
    "data__buckets": 1,
    "log_every": 8,
    "evaluate_every": 5,
    "data__validation": 0.1,
    "model__cell": "SimpleCell",
    "model__dropout": 0.3,
    "averaging__decay": 0.9,
}
"""Logs and evaluations are due at none of the last steps; 14 steps an epoch."""


def run(config, workdir):
    command = f"python -m rnnjax.main --config.epochs={config.epochs}"
    return training.run(config, "small", workdir, command)


def test_more_epochs_end_as_if_they_had_been_asked_for_at_once(news, tmp_path):
    once, twice = tmp_path / "once", tmp_path / "twice"
    longer = parse(news, epochs=3, **UNEVEN)
    run(longer, once)
    first = run(parse(news, epochs=2, **UNEVEN), twice)
    assert 0 not in (first["steps"] % 5, first["steps"] % 8)
    result = run(longer, twice)
    assert (result["steps"], result["resumed_from"]) == (3 * first["steps"] // 2, first["steps"])
    assert_same(saved(longer, twice), saved(longer, once))
    assert (twice / "metrics.jsonl").read_bytes() == (once / "metrics.jsonl").read_bytes()
    other = json.loads((once / "result.json").read_text())
    for key in ("test", "validation", "steps", "epochs", "confusion", "best_step", "timed_steps"):
        assert result[key] == other[key]
    assert json.loads((twice / "config.json").read_text())["config"]["epochs"] == 3
    report = (twice / "report.html").read_text()
    assert f"rnnjax.main --config.epochs=3 --workdir {twice}" in report
    with pytest.raises(InputError, match=r"config.epochs: 2, 3"):
        run(parse(news, epochs=2, **UNEVEN), twice)


def test_more_epochs_keep_the_padded_lengths_of_the_first(news, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("rnnjax.data.labelled._COMPILING", 10.0)
    longer = parse(news, epochs=2)
    assert make_dataset(longer, load_corpus(longer)).train.boundaries == (12, 24)
    assert run(parse(news, epochs=1), tmp_path)["buckets"] == [24]
    capsys.readouterr()
    assert run(longer, tmp_path)["buckets"] == [24]
    assert "keep the padded lengths chosen for 1" in capsys.readouterr().err


def test_an_interrupted_extension_is_no_finished_run(news, tmp_path, monkeypatch):
    run(parse(news, data__buckets=1, log_every=4, epochs=1), tmp_path)

    def killed(*_):
        raise KeyboardInterrupt

    longer = parse(news, data__buckets=1, log_every=4, epochs=2)
    with monkeypatch.context() as patch:
        patch.setattr(run_module, "train", killed)
        with pytest.raises(KeyboardInterrupt):
            run(longer, tmp_path)
    assert not (tmp_path / "result.json").exists()
    # The line of its last step was none of every fourth, and is gone by now.
    assert [line["step"] for line in lines(tmp_path)] == [4, 8, 12]
    copy = shutil.copytree(tmp_path, tmp_path.with_name(f"{tmp_path.name}-damaged"))
    log = (copy / "metrics.jsonl").read_text()
    (copy / "metrics.jsonl").write_text(log.replace('"loss": 1', '"loss": 2', 1))
    with pytest.raises(InputError, match=r"metrics\.jsonl is damaged .*up to step 15"):
        run(longer, copy)
    assert run(longer, tmp_path)["epochs"] == 2


def test_metrics_of_the_last_step_are_verified_where_no_result_was_written(news, tmp_path):
    config = parse(news, data__buckets=1, log_every=4, epochs=1)
    run(config, tmp_path)
    (tmp_path / "result.json").unlink()
    *due, last, test = (tmp_path / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    assert b'"step": 15' in last
    for changed in ([*due, test], [*due, last.replace(b"15", b"15.0"), test]):
        (tmp_path / "metrics.jsonl").write_bytes(b"".join(changed))
        with pytest.raises(InputError, match=r"metrics\.jsonl.*(is damaged|given)"):
            run(config, tmp_path)
    for kept in ([*due, last, test], [*due, last]):
        (tmp_path / "metrics.jsonl").write_bytes(b"".join(kept))
        (tmp_path / "result.json").unlink(missing_ok=True)
        run(config, tmp_path)
        assert (tmp_path / "metrics.jsonl").read_bytes() == b"".join([*due, last, test])


def test_a_crash_between_manifest_and_config_of_an_extension_is_mended(news, tmp_path, monkeypatch):
    run(parse(news, data__buckets=1, epochs=1), tmp_path)
    longer = parse(news, data__buckets=1, epochs=2)

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("rnnjax.reporting.run_files.write_text", killed)
        with pytest.raises(KeyboardInterrupt):
            run(longer, tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["config"]["epochs"] == 1
    assert run(longer, tmp_path)["epochs"] == 2


def test_replicates_go_on_for_more_epochs(news, tmp_path):
    changes = {"replicates": 2, "data__take": 64, "model__cell": "SimpleCell"}
    run(parse(news, epochs=1, **changes), tmp_path / "run")
    run(parse(news, epochs=2, **changes), tmp_path / "run")
    run(parse(news, epochs=2, **changes), tmp_path / "once")
    for seed in ("seed-3", "seed-4"):
        one, other = (
            training.TrainedClassifier.load(tmp_path / name / seed).params
            for name in ("run", "once")
        )
        assert_same(one, other)
        result = json.loads((tmp_path / "run" / seed / "result.json").read_text())
        assert result["epochs"] == 2


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"schedule": "cosine"}, "config.schedule='cosine' has brought the learning rate down"),
        ({"schedule": "linear"}, "config.schedule='linear' has brought the learning rate down"),
        (
            {"data__validation": 0.2, "early_stopping__patience": 9, "evaluate_every": 5},
            "its last evaluation, at step 4, counted for early stopping",
        ),
        (
            {
                "data__validation": 0.2,
                "early_stopping__patience": 1,
                "evaluate_every": 1,
                "learning_rate": 3.0,
            },
            "early stopping has ended it at step",
        ),
    ],
)
def test_where_more_epochs_would_be_another_training_they_are_refused(
    news, tmp_path, changes, reason
):
    changes = {"data__take": 64, "data__buckets": 1, "epochs": 1, **changes}
    run(parse(news, **changes), tmp_path)
    before = snapshot(tmp_path)
    with pytest.raises(InputError, match=r"config.init_from=") as caught:
        run(parse(news, **{**changes, "epochs": 2}), tmp_path)
    assert reason in str(caught.value)
    assert snapshot(tmp_path) == before


def test_the_same_data_by_another_spelling_of_its_path_is_the_same(
    finished, news, tmp_path, monkeypatch, capsys
):
    link = tmp_path / "link"
    link.symlink_to(news)
    monkeypatch.chdir(news.parent)
    for spelling in (news.name, f"{news}/", f"./{news.name}/../{news.name}", str(link)):
        capsys.readouterr()
        run(parse(news, data__dir=spelling), finished)
        assert "holds a finished run" in capsys.readouterr().err


def test_moved_data_is_the_same_by_its_fingerprint(finished, news, tmp_path, capsys):
    before, moved = snapshot(finished), shutil.copytree(news, tmp_path / "moved")
    run(parse(moved), finished)
    assert "holds a finished run" in capsys.readouterr().err
    (moved / "test.csv").write_text((moved / "test.csv").read_text().replace("goal", "gaol"))
    with pytest.raises(InputError, match="the data is now"):
        run(parse(moved), finished)
    assert snapshot(finished) == before


def test_a_warm_up_that_is_too_long_names_one_that_would_do(news, tmp_path):
    config = parse(news, warmup_steps=99, data__take=160, data__buckets=1)
    with pytest.raises(InputError, match=r"has 20 steps.*config.learning_rate: 2, a tenth"):
        run(config, tmp_path)
    assert run(parse(news, warmup_steps=2, data__take=160, data__buckets=1), tmp_path)


def test_the_time_of_all_processes_is_added_up(news, tmp_path, monkeypatch):
    config = parse(news, data__buckets=1, checkpoint__every=4)

    class Broken(loop.Progress):
        def update(self, step, *args, **options):
            if step == 10:
                raise OSError("the machine is off")

    with monkeypatch.context() as patch:
        patch.setattr(loop, "Progress", Broken)
        with pytest.raises(OSError, match="off"):
            run(config, tmp_path)
    timing = json.loads((tmp_path / "timing.json").read_text())
    assert list(timing) == ["4", "8"]
    assert (timing["8"]["steps"], timing["8"]["examples"]) == (8, 128)
    timing["8"]["train_seconds"] = 1_000.0
    (tmp_path / "timing.json").write_text(json.dumps(timing))
    result = run(config, tmp_path)
    assert (result["resumed_from"], result["timed_steps"], result["steps"]) == (8, 30, 30)
    assert 1_000 < result["train_seconds"] < 1_060
    assert result["rows_per_second"] == pytest.approx(480 / result["train_seconds"], rel=0.1)
    (tmp_path / "result.json").unlink()
    again = run(config, tmp_path)
    for key in ("timed_steps", "train_seconds", "rows_per_second"):
        assert again[key] == result[key]
    (tmp_path / "result.json").unlink()
    (tmp_path / "timing.json").write_text('{"a":' * 5_000 + "1" + "}" * 5_000)
    lost = run(config, tmp_path)
    assert lost["timed_steps"] == 0
    assert "rows_per_second" not in lost


def test_a_training_begins_with_the_parameters_of_another(finished, news, tmp_path, capsys):
    config = parse(news, init_from=str(finished), learning_rate=1e-12, epochs=1)
    run(config, tmp_path)
    ours, theirs = (training.TrainedClassifier.load(path) for path in (tmp_path, finished))
    for (path, one), other in zip(
        jax.tree_util.tree_leaves_with_path(ours.params),
        jax.tree.leaves(theirs.params),
        strict=True,
    ):
        rows = len(ours.vocabulary) if "embed" in jax.tree_util.keystr(path) else len(one)
        np.testing.assert_allclose(one[:rows], other[:rows], atol=1e-6)
    account = json.loads((tmp_path / "environment.json").read_text())["init_from"]
    assert account["step"] == Checkpoints(finished / "checkpoints").steps[-1]
    assert len(account["digest"]) == 64
    assert account["in_part"]["score/kernel"] == "4 of 4 classes"
    assert "recurrent/layers_0/cell/recurrent_kernel" in account["taken"]
    assert account["missing"] == account["extra"] == []
    assert f"init_from {finished}" in capsys.readouterr().err
    # It goes on without the other run, and starts nowhere else.
    result = run(parse(news, init_from=str(finished), learning_rate=1e-12, epochs=2), tmp_path)
    assert result["resumed_from"] == result["steps"] // 2


def test_tokens_match_by_their_name_and_what_does_not_match_is_listed(
    finished, news, tmp_path, capsys
):
    source = training.TrainedClassifier.load(finished)
    config = parse(
        news,
        init_from=str(finished),
        learning_rate=1e-12,
        epochs=1,
        data__vocabulary__size=20,
        model__bidirectional=True,
        model__features=8,
        replicates=2,
        data__take=64,
    )
    run(config, tmp_path)
    for seed in ("seed-3", "seed-4"):
        ours = training.TrainedClassifier.load(tmp_path / seed)
        words = ours.vocabulary.words
        there = [source.vocabulary.words.index(word) for word in words]
        assert there != list(range(len(words)))
        ours_rows, theirs_rows = (
            each.params["embed"]["embedding"][rows]
            for each, rows in ((ours, range(len(words))), (source, there))
        )
        np.testing.assert_allclose(ours_rows, theirs_rows, atol=1e-6)
        account = json.loads((tmp_path / seed / "environment.json").read_text())["init_from"]
        assert account["in_part"]["embed/embedding"] == "20 of 20 tokens"
        assert account["other_shape"] == {"score/kernel": {"here": [16, 4], "there": [8, 4]}}
        assert "recurrent/layers_0/forward/cell/recurrent_kernel" in account["missing"]
        assert "recurrent/layers_0/cell/recurrent_kernel" in account["extra"]
    said = capsys.readouterr().err
    assert "not taken, of another shape: score/kernel ([8, 4] there, [16, 4] here)" in said


def test_a_run_that_cannot_be_begun_with_is_refused_before_the_folder_is_made(
    finished, news, tmp_path
):
    workdir = tmp_path / "run"
    with pytest.raises(InputError, match=r"init_from=.*holds no config.json"):
        run(parse(news, init_from=str(tmp_path / "nowhere")), workdir)
    bare = shutil.copytree(finished, tmp_path / "bare")
    shutil.rmtree(bare / "checkpoints")
    with pytest.raises(InputError, match="holds no checkpoint"):
        run(parse(news, init_from=str(bare)), workdir)
    with pytest.raises(InputError, match=r"init_from and model.embedding.path are set"):
        parse(news, init_from=str(bare), model__embedding__path="vectors.txt")
    one_hot = {"model__embedding__features": 0, "data__vocabulary__size": 20}
    with pytest.raises(InputError, match="input is one-hot"):
        run(parse(news, init_from=str(finished), **one_hot), workdir)
    assert not workdir.exists()


def test_a_run_of_which_nothing_matches_is_an_error(finished, news, tmp_path):
    values = {
        "task": "memory",
        "init_from": str(finished),
        "data": {"memory": {"problem": "parity", "length": 8, "examples": 32, "judged": 16}},
        "model": {"features": 5},
    }
    config = run_module.Config.model_validate(values)
    with pytest.raises(InputError, match=r"none of its 6 parameters matches"):
        run(config, tmp_path)
    assert list(tmp_path.iterdir()) == []
