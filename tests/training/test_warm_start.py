"""Warm start: initial parameters from another run, matched by path, shape and label."""

import shutil

import jax
import numpy as np
import pytest

from rnnjax import training
from rnnjax.config import parse
from rnnjax.errors import InputError
from rnnjax.training.checkpoint import Checkpoints

from .small_runs import news_config, read_json, train


def test_training_starts_with_the_parameters_of_another_run(finished, news, tmp_path, capsys):
    changes = {"init_from": str(finished), "learning_rate": 1e-12}
    train(news_config(news, epochs=1, **changes), tmp_path)
    run, source = (training.load_run(path) for path in (tmp_path, finished))
    for (path, leaf), expected in zip(
        jax.tree_util.tree_leaves_with_path(run.params),
        jax.tree.leaves(source.params),
        strict=True,
    ):
        rows = len(run.text_vocabulary) if "embed" in jax.tree_util.keystr(path) else len(leaf)
        np.testing.assert_allclose(leaf[:rows], expected[:rows], atol=1e-6)
    report = read_json(tmp_path / "environment.json")["init_from"]
    assert report["step"] == Checkpoints(finished / "checkpoints").steps[-1]
    assert len(report["digest"]) == 64
    assert report["in_part"]["score/kernel"] == "4 of 4 classes"
    assert "recurrent/layers_0/cell/recurrent_kernel" in report["taken"]
    assert report["missing"] == report["extra"] == []
    assert f"init_from {finished}" in capsys.readouterr().err
    # A resumed run starts from its own checkpoint.
    result = train(news_config(news, epochs=2, **changes), tmp_path)
    assert result["resumed_from"] == result["steps"] // 2


def test_tokens_match_by_name_and_the_rest_is_listed(finished, news, tmp_path, capsys):
    source = training.load_run(finished)
    config = news_config(
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
    train(config, tmp_path)
    for seed in ("seed-3", "seed-4"):
        run = training.load_run(tmp_path / seed)
        words = run.text_vocabulary.words
        source_rows = [source.text_vocabulary.words.index(word) for word in words]
        assert source_rows != list(range(len(words)))
        table, source_table = (network.params["embed"]["embedding"] for network in (run, source))
        np.testing.assert_allclose(table[: len(words)], source_table[source_rows], atol=1e-6)
        report = read_json(tmp_path / seed / "environment.json")["init_from"]
        assert report["in_part"]["embed/embedding"] == "20 of 20 tokens"
        assert report["other_shape"] == {"score/kernel": {"here": [16, 4], "there": [8, 4]}}
        assert "recurrent/layers_0/forward/cell/recurrent_kernel" in report["missing"]
        assert "recurrent/layers_0/cell/recurrent_kernel" in report["extra"]
    message = capsys.readouterr().err
    assert "not taken, of another shape: score/kernel ([8, 4] there, [16, 4] here)" in message


def test_unusable_source_is_refused_before_the_folder_is_created(finished, news, tmp_path):
    workdir = tmp_path / "run"
    with pytest.raises(InputError, match=r"init_from=.*holds no config.json"):
        train(news_config(news, init_from=str(tmp_path / "nowhere")), workdir)
    unsaved = shutil.copytree(finished, tmp_path / "unsaved")
    shutil.rmtree(unsaved / "checkpoints")
    with pytest.raises(InputError, match="holds no checkpoint"):
        train(news_config(news, init_from=str(unsaved)), workdir)
    with pytest.raises(InputError, match=r"init_from and model.embedding.path are set"):
        news_config(news, init_from=str(unsaved), model__embedding__path="vectors.txt")
    one_hot = {"model__embedding__features": 0, "data__vocabulary__size": 20}
    with pytest.raises(InputError, match="input is one-hot"):
        train(news_config(news, init_from=str(finished), **one_hot), workdir)
    assert not workdir.exists()


def test_source_without_a_matching_parameter_is_refused(finished, tmp_path):
    memory = {"problem": "parity", "length": 8, "examples": 32, "test_examples": 16}
    config = parse(
        {
            "task": "memory",
            "init_from": str(finished),
            "memory": memory,
            "model": {"features": 5},
        }
    )
    with pytest.raises(InputError, match=r"none of its 6 parameters matches"):
        train(config, tmp_path)
    assert list(tmp_path.iterdir()) == []
