"""Replicates: several seeds side by side equal the runs of single seeds."""

import json
import os
import shutil
import signal

import jax
import numpy as np
import pytest

from rnnjax import training
from rnnjax.errors import InputError
from rnnjax.training import loop

from .small_runs import news_config, read_files, read_metrics, restore_state

SEVERAL = {
    "steps_per_call": 3,
    "schedule": "cosine",
    "warmup_steps": 4,
    "log_every": 4,
    "model__cell": "SimpleCell",
    "model__dropout": 0.3,
    "model__regularization__variational_dropout": True,
    "optimizer__clip_norm": 1.0,
    "averaging__decay": 0.9,
    "data__buckets": 2,
}
"""What a replicate could get wrong beside others; its dropout draws the same at any length."""

HELD_OUT = {**SEVERAL, "evaluate_every": 6, "data__validation": 0.1, "data__bucketing": False}
"""The same with rows held out, others for every seed."""


def run(config, workdir):
    return training.train(config, "small", workdir, "python -m rnnjax.main")


@pytest.fixture(scope="module", params=[SEVERAL, HELD_OUT], ids=["bucketed", "validated"])
def replicates(news, tmp_path_factory, request):
    """The options, and the folder of a run of seeds 3 to 4."""
    workdir = tmp_path_factory.mktemp("together") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rnnjax.data.batches._COMPILE_COST", 0.0)
        run(news_config(news, replicates=2, **request.param), workdir)
    return request.param, workdir


def assert_close(actual, expected):
    """Fails unless two pytrees of numbers agree but for rounding; strings have to be the same."""
    a, b = (
        jax.tree_util.tree_leaves_with_path(actual),
        jax.tree_util.tree_leaves_with_path(expected),
    )
    assert [path for path, _ in a] == [path for path, _ in b]
    for (path, leaf), (_, expected_leaf) in zip(a, b, strict=True):
        if isinstance(leaf, str):
            assert leaf == expected_leaf
        else:
            where = jax.tree_util.keystr(path)
            np.testing.assert_allclose(leaf, expected_leaf, rtol=1e-3, atol=1e-5, err_msg=where)


def test_replicate_equals_the_run_of_its_seed(replicates, news, tmp_path, several_lengths):
    options, workdir = replicates
    networks = []
    for seed in (3, 4):
        config = news_config(news, **{**options, "seed": seed})
        run(config, tmp_path / str(seed))
        folder = workdir / f"seed-{seed}"
        single, replicate = (
            restore_state(config, tmp_path / str(seed)),
            restore_state(config, folder),
        )
        assert_close(replicate, single)
        assert_close(read_metrics(folder), read_metrics(tmp_path / str(seed)))
        for name in ("config.json", "tokenizer.json"):
            assert (folder / name).read_bytes() == (tmp_path / str(seed) / name).read_bytes()
        result, expected = (
            json.loads((at / "result.json").read_text()) for at in (folder, tmp_path / str(seed))
        )
        assert result.keys() == expected.keys()
        for key in ("test", "confusion", "data", "buckets", "steps", "epochs", "model"):
            assert_close(result[key], expected[key])
        assert "small" in (folder / "report.html").read_text()
        networks.append(single.params["score"]["kernel"])
    assert not np.allclose(networks[0], networks[1], atol=1e-2)


def test_result_has_scores_by_seed(replicates):
    _, workdir = replicates
    summary = json.loads((workdir / "result.json").read_text())
    results = [json.loads((workdir / f"seed-{n}" / "result.json").read_text()) for n in (3, 4)]
    assert summary["seeds"] == [3, 4]
    for split in ("test", *(["validation"] if "validation" in results[0] else [])):
        assert summary[split]["rows"] == results[0][split]["rows"]
        for score in ("loss", "accuracy", "macro_f1"):
            values = [result[split][score] for result in results]
            scores = summary[split][score]
            assert scores["by_seed"] == values
            assert scores["mean"] == pytest.approx(np.mean(values))
            assert scores["sd"] == pytest.approx(np.std(values, ddof=1))


def test_repeated_finished_replicates_change_nothing(replicates, news, capsys):
    options, workdir = replicates
    files = read_files(workdir)
    run(news_config(news, replicates=2, **options), workdir)
    run(news_config(news, **{**options, "seed": 4}), workdir / "seed-4")
    assert capsys.readouterr().err.count("holds a finished run") == 2
    assert read_files(workdir) == files


def test_replicates_are_loaded_one_by_one(replicates):
    _, workdir = replicates
    with pytest.raises(InputError, match=r"2 networks, of the seeds 3 to 4.*seed-3"):
        training.load_run(workdir)
    answers = [training.load_run(workdir / f"seed-{seed}").predict(["goal"]) for seed in (3, 4)]
    assert not np.array_equal(answers[0], answers[1])


def test_checkpoint_of_another_replicate_is_refused(replicates, tmp_path):
    copy = shutil.copytree(replicates[1], tmp_path / "copy")
    shutil.rmtree(copy / "seed-3" / "checkpoints")
    shutil.copytree(copy / "seed-4" / "checkpoints", copy / "seed-3" / "checkpoints")
    with pytest.raises(InputError, match=r"is damaged .*it was saved by another run"):
        training.load_run(copy / "seed-3")


def test_interrupted_replicates_equal_uninterrupted_ones(
    replicates, news, tmp_path, several_lengths, monkeypatch
):
    class Interrupting(loop.Progress):
        def update(self, step, *args, **options):
            super().update(step, *args, **options)
            if step >= 5:
                os.kill(os.getpid(), signal.SIGINT)

    options, uninterrupted = replicates
    config = news_config(news, replicates=2, **options)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "Progress", Interrupting)
        with pytest.raises(training.InterruptedRunError):
            run(config, tmp_path)
    assert not list(tmp_path.glob("**/result.json"))
    copy = shutil.copytree(tmp_path, tmp_path.with_name(f"{tmp_path.name}-damaged"))
    (copy / "seed-4" / "metrics.jsonl").write_bytes(b"")
    with pytest.raises(InputError, match=r"seed-4/metrics\.jsonl is damaged"):
        run(config, copy)
    run(config, tmp_path)
    for seed in (3, 4):
        actual, expected = tmp_path / f"seed-{seed}", uninterrupted / f"seed-{seed}"
        assert read_metrics(actual) == read_metrics(expected)
        state, expected_state = (
            restore_state(news_config(news, **options), actual),
            restore_state(news_config(news, **options), expected),
        )
        jax.tree.map(np.testing.assert_array_equal, state, expected_state)


def test_replicates_with_epochs_of_other_lengths_are_refused(news, tmp_path, several_lengths):
    options = {"data__validation": 0.1, "batch_size": 3, "replicates": 8}
    with pytest.raises(InputError, match=r"config.replicates.*epochs of \d+ to \d+ steps"):
        run(news_config(news, **options), tmp_path / "run")
    assert not (tmp_path / "run").exists()
