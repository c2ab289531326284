"""Several seeds in one program: the same numbers as one after the other, and nothing of its own."""

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

from .small import lines, parse, saved, snapshot

pytest_plugins = ["training.small"]

SEVERAL = {
    "steps_per_call": 3,
    "schedule": "cosine",
    "warmup_steps": 4,
    "log_every": 4,
    "model__cell": "SimpleCell",
    "model__dropout": 0.3,
    "model__regularization__variational": True,
    "optimizer__clip_norm": 1.0,
    "averaging__decay": 0.9,
    "data__buckets": 2,
}
"""What a replicate could get wrong beside others; its dropout draws the same at any length."""

HELD_OUT = {**SEVERAL, "evaluate_every": 6, "data__validation": 0.1, "data__bucketing": False}
"""The same with rows held out, others for every seed."""


def run(config, workdir):
    return training.run(config, "small", workdir, "python -m rnnjax.main")


@pytest.fixture(scope="module", params=[SEVERAL, HELD_OUT], ids=["bucketed", "validated"])
def together(news, tmp_path_factory, request):
    """The options, and the folder of a run of seeds 3 to 4."""
    workdir = tmp_path_factory.mktemp("together") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rnnjax.data.labelled._COMPILING", 0.0)
        run(parse(news, replicates=2, **request.param), workdir)
    return request.param, workdir


def assert_close(ours, theirs):
    """Fails unless two pytrees of numbers agree but for rounding; strings have to be the same."""
    a, b = jax.tree_util.tree_leaves_with_path(ours), jax.tree_util.tree_leaves_with_path(theirs)
    assert [path for path, _ in a] == [path for path, _ in b]
    for (path, one), (_, other) in zip(a, b, strict=True):
        if isinstance(one, str):
            assert one == other
        else:
            where = jax.tree_util.keystr(path)
            np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5, err_msg=where)


def test_each_replicate_is_the_run_of_its_seed(together, news, tmp_path, several_lengths):
    options, workdir = together
    networks = []
    for seed in (3, 4):
        config = parse(news, **{**options, "seed": seed})
        run(config, tmp_path / str(seed))
        own = workdir / f"seed-{seed}"
        alone, beside = saved(config, tmp_path / str(seed)), saved(config, own)
        assert_close(beside, alone)
        assert_close(lines(own), lines(tmp_path / str(seed)))
        for name in ("config.json", "tokenizer.json"):
            assert (own / name).read_bytes() == (tmp_path / str(seed) / name).read_bytes()
        one, other = (
            json.loads((at / "result.json").read_text()) for at in (own, tmp_path / str(seed))
        )
        assert one.keys() == other.keys()
        for key in ("test", "confusion", "data", "buckets", "steps", "epochs", "model"):
            assert_close(one[key], other[key])
        assert "small" in (own / "report.html").read_text()
        networks.append(alone.params["score"]["kernel"])
    assert not np.allclose(networks[0], networks[1], atol=1e-2)


def test_the_result_of_all_has_the_scores_by_seed(together):
    _, workdir = together
    whole = json.loads((workdir / "result.json").read_text())
    each = [json.loads((workdir / f"seed-{n}" / "result.json").read_text()) for n in (3, 4)]
    assert whole["seeds"] == [3, 4]
    for split in ("test", *(["validation"] if "validation" in each[0] else [])):
        assert whole[split]["rows"] == each[0][split]["rows"]
        for score in ("loss", "accuracy", "macro_f1"):
            values = [one[split][score] for one in each]
            found = whole[split][score]
            assert found["by_seed"] == values
            assert found["mean"] == pytest.approx(np.mean(values))
            assert found["sd"] == pytest.approx(np.std(values, ddof=1))


def test_a_finished_run_of_replicates_repeated_does_nothing(together, news, capsys):
    options, workdir = together
    before = snapshot(workdir)
    run(parse(news, replicates=2, **options), workdir)
    run(parse(news, **{**options, "seed": 4}), workdir / "seed-4")
    assert capsys.readouterr().err.count("holds a finished run") == 2
    assert snapshot(workdir) == before


def test_one_of_the_networks_is_asked(together):
    _, workdir = together
    with pytest.raises(InputError, match=r"2 networks, of the seeds 3 to 4.*seed-3"):
        training.TrainedClassifier.load(workdir)
    answers = [
        training.TrainedClassifier.load(workdir / f"seed-{seed}").predict(["goal"])
        for seed in (3, 4)
    ]
    assert not np.array_equal(answers[0], answers[1])


def test_a_checkpoint_of_another_replicate_is_refused(together, tmp_path):
    copy = shutil.copytree(together[1], tmp_path / "copy")
    shutil.rmtree(copy / "seed-3" / "checkpoints")
    shutil.copytree(copy / "seed-4" / "checkpoints", copy / "seed-3" / "checkpoints")
    with pytest.raises(InputError, match=r"is damaged .*it was saved by another run"):
        training.TrainedClassifier.load(copy / "seed-3")


def test_replicates_that_were_interrupted_go_on_as_if_nothing_had_been(
    together, news, tmp_path, several_lengths, monkeypatch
):
    class Interrupting(loop.Progress):
        def update(self, step, *args, **options):
            super().update(step, *args, **options)
            if step >= 5:
                os.kill(os.getpid(), signal.SIGINT)

    options, whole = together
    config = parse(news, replicates=2, **options)
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
        ours, theirs = tmp_path / f"seed-{seed}", whole / f"seed-{seed}"
        assert lines(ours) == lines(theirs)
        one, other = saved(parse(news, **options), ours), saved(parse(news, **options), theirs)
        jax.tree.map(np.testing.assert_array_equal, one, other)


def test_replicates_whose_epochs_differ_are_refused_before_a_folder_is_made(
    news, tmp_path, several_lengths
):
    options = {"data__validation": 0.1, "batch_size": 3, "replicates": 8}
    with pytest.raises(InputError, match=r"config.replicates.*epochs of \d+ to \d+ steps"):
        run(parse(news, **options), tmp_path / "run")
    assert not (tmp_path / "run").exists()
