"""Resumed runs: more epochs, moved data, and the time of all processes."""

import json
import shutil

import pytest

from rnnjax import training
from rnnjax.errors import InputError
from rnnjax.training import launch, loop

from .small_runs import (
    assert_trees_equal,
    make_dataset_and_task,
    news_config,
    read_files,
    read_json,
    read_metrics,
    restore_state,
    train,
    train_until_signal,
)

UNEVEN_INTERVALS = {
    "data__buckets": 1,
    "log_every": 8,
    "evaluate_every": 5,
    "data__validation": 0.1,
    "model__cell": "SimpleCell",
    "model__dropout": 0.3,
    "averaging__decay": 0.9,
}
"""With 14 steps an epoch, neither logging nor validation is due at a last step."""


def train_with_epochs(config, workdir):
    command = f"python -m rnnjax.main --config.epochs={config.epochs}"
    return training.train(config, "small", workdir, command)


def killed(*_):
    raise KeyboardInterrupt


def test_extended_run_equals_a_longer_run(news, tmp_path):
    expected, extended = tmp_path / "expected", tmp_path / "extended"
    longer = news_config(news, epochs=3, **UNEVEN_INTERVALS)
    train_with_epochs(longer, expected)
    first = train_with_epochs(news_config(news, epochs=2, **UNEVEN_INTERVALS), extended)
    assert 0 not in (first["steps"] % 5, first["steps"] % 8)
    result = train_with_epochs(longer, extended)
    assert (result["steps"], result["resumed_from"]) == (3 * first["steps"] // 2, first["steps"])
    assert_trees_equal(restore_state(longer, extended), restore_state(longer, expected))
    assert (extended / "metrics.jsonl").read_bytes() == (expected / "metrics.jsonl").read_bytes()
    expected_result = read_json(expected / "result.json")
    for key in ("test", "validation", "steps", "epochs", "confusion", "best_step", "timed_steps"):
        assert result[key] == expected_result[key]
    assert read_json(extended / "config.json")["config"]["epochs"] == 3
    report = (extended / "report.html").read_text()
    assert f"rnnjax.main --config.epochs=3 --workdir {extended}" in report
    with pytest.raises(InputError, match=r"config.epochs: 2, 3"):
        train_with_epochs(news_config(news, epochs=2, **UNEVEN_INTERVALS), extended)


def test_extended_run_keeps_its_padded_lengths(news, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("rnnjax.data.batches._COMPILE_COST", 10.0)
    longer = news_config(news, epochs=2)
    assert make_dataset_and_task(longer)[0].train.boundaries == (12, 24)
    assert train(news_config(news, epochs=1), tmp_path)["buckets"] == [24]
    capsys.readouterr()
    assert train(longer, tmp_path)["buckets"] == [24]
    assert "keep the padded lengths chosen for 1" in capsys.readouterr().err


def test_interrupted_extension_has_no_result(news, tmp_path, monkeypatch):
    train(news_config(news, data__buckets=1, log_every=4, epochs=1), tmp_path)
    longer = news_config(news, data__buckets=1, log_every=4, epochs=2)
    with monkeypatch.context() as patch:
        patch.setattr(launch, "run_loop", killed)
        with pytest.raises(KeyboardInterrupt):
            train(longer, tmp_path)
    assert not (tmp_path / "result.json").exists()
    # The last step, 15, was logged although no line was due, and its line is gone by now.
    assert [line["step"] for line in read_metrics(tmp_path)] == [4, 8, 12]
    copy = shutil.copytree(tmp_path, tmp_path.with_name(f"{tmp_path.name}-damaged"))
    log = (copy / "metrics.jsonl").read_text()
    (copy / "metrics.jsonl").write_text(log.replace('"loss": 1', '"loss": 2', 1))
    with pytest.raises(InputError, match=r"metrics\.jsonl is damaged .*up to step 15"):
        train(longer, copy)
    assert train(longer, tmp_path)["epochs"] == 2


def test_metrics_of_the_last_step_are_verified_without_a_result(news, tmp_path):
    config = news_config(news, data__buckets=1, log_every=4, epochs=1)
    train(config, tmp_path)
    (tmp_path / "result.json").unlink()
    *due, last, test = (tmp_path / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    assert b'"step": 15' in last
    for damaged in ([*due, test], [*due, last.replace(b"15", b"15.0"), test]):
        (tmp_path / "metrics.jsonl").write_bytes(b"".join(damaged))
        with pytest.raises(InputError, match=r"metrics\.jsonl.*(is damaged|given)"):
            train(config, tmp_path)
    for lines in ([*due, last, test], [*due, last]):
        (tmp_path / "metrics.jsonl").write_bytes(b"".join(lines))
        (tmp_path / "result.json").unlink(missing_ok=True)
        train(config, tmp_path)
        assert (tmp_path / "metrics.jsonl").read_bytes() == b"".join([*due, last, test])


def test_extension_is_completed_after_a_crash_between_manifest_and_config(
    news, tmp_path, monkeypatch
):
    train(news_config(news, data__buckets=1, epochs=1), tmp_path)
    longer = news_config(news, data__buckets=1, epochs=2)
    with monkeypatch.context() as patch:
        patch.setattr("rnnjax.reporting.run_files.write_text", killed)
        with pytest.raises(KeyboardInterrupt):
            train(longer, tmp_path)
    assert read_json(tmp_path / "config.json")["config"]["epochs"] == 1
    assert train(longer, tmp_path)["epochs"] == 2


def test_extended_replicates_equal_longer_ones(news, tmp_path):
    changes = {"replicates": 2, "data__take": 64, "model__cell": "SimpleCell"}
    train(news_config(news, epochs=1, **changes), tmp_path / "extended")
    train(news_config(news, epochs=2, **changes), tmp_path / "extended")
    train(news_config(news, epochs=2, **changes), tmp_path / "expected")
    for seed in ("seed-3", "seed-4"):
        params, expected = (
            training.load_run(tmp_path / name / seed).params for name in ("extended", "expected")
        )
        assert_trees_equal(params, expected)
        assert read_json(tmp_path / "extended" / seed / "result.json")["epochs"] == 2


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
def test_extension_to_another_training_is_refused(news, tmp_path, changes, reason):
    changes = {"data__take": 64, "data__buckets": 1, "epochs": 1, **changes}
    train(news_config(news, **changes), tmp_path)
    files = read_files(tmp_path)
    with pytest.raises(InputError, match=r"config.init_from=") as caught:
        train(news_config(news, **{**changes, "epochs": 2}), tmp_path)
    assert reason in str(caught.value)
    assert read_files(tmp_path) == files


def test_spelling_of_a_path_does_not_matter(finished, news, tmp_path, monkeypatch, capsys):
    link = tmp_path / "link"
    link.symlink_to(news)
    monkeypatch.chdir(news.parent)
    for spelling in (news.name, f"{news}/", f"./{news.name}/../{news.name}", str(link)):
        capsys.readouterr()
        train(news_config(news, data__dir=spelling), finished)
        assert "holds a finished run" in capsys.readouterr().err


def test_moved_data_is_identified_by_its_fingerprint(finished, news, tmp_path, capsys):
    files, moved = read_files(finished), shutil.copytree(news, tmp_path / "moved")
    train(news_config(moved), finished)
    assert "holds a finished run" in capsys.readouterr().err
    (moved / "test.csv").write_text((moved / "test.csv").read_text().replace("goal", "gaol"))
    with pytest.raises(InputError, match="the data is now"):
        train(news_config(moved), finished)
    assert read_files(finished) == files


def test_changed_data_is_refused(news, tmp_path, several_lengths):
    folder = shutil.copytree(news, tmp_path / "news")
    config, workdir = news_config(folder), tmp_path / "run"
    train_until_signal(config, workdir, 4)
    test = (folder / "test.csv").read_text()
    (folder / "test.csv").write_text(test.replace("goal", "gaol"))
    files = read_files(workdir)
    with pytest.raises(InputError, match="the data is now") as caught:
        train(config, workdir)
    assert "bring back the data" in str(caught.value)
    assert read_files(workdir) == files


def test_training_time_of_all_processes_is_added(news, tmp_path, monkeypatch):
    config = news_config(news, data__buckets=1, checkpoint__every=4)

    class FailingProgress(loop.Progress):
        def update(self, step, *args, **metrics):
            if step == 10:
                raise OSError("the machine is off")

    with monkeypatch.context() as patch:
        patch.setattr(loop, "Progress", FailingProgress)
        with pytest.raises(OSError, match="off"):
            train(config, tmp_path)
    timing = read_json(tmp_path / "timing.json")
    assert list(timing) == ["4", "8"]
    assert (timing["8"]["steps"], timing["8"]["examples"]) == (8, 128)
    timing["8"]["train_seconds"] = 1_000.0
    (tmp_path / "timing.json").write_text(json.dumps(timing))
    result = train(config, tmp_path)
    assert (result["resumed_from"], result["timed_steps"], result["steps"]) == (8, 30, 30)
    assert 1_000 < result["train_seconds"] < 1_060
    assert result["rows_per_second"] == pytest.approx(480 / result["train_seconds"], rel=0.1)
    (tmp_path / "result.json").unlink()
    repeated = train(config, tmp_path)
    for key in ("timed_steps", "train_seconds", "rows_per_second"):
        assert repeated[key] == result[key]
    (tmp_path / "result.json").unlink()
    (tmp_path / "timing.json").write_text('{"a":' * 5_000 + "1" + "}" * 5_000)
    untimed = train(config, tmp_path)
    assert untimed["timed_steps"] == 0
    assert "rows_per_second" not in untimed
