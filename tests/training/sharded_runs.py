"""Runs on eight simulated devices, which `test_sharding` collects in a process of its own."""

import shutil

import jax
import numpy as np
import pytest

from rnnjax.training import sharding
from rnnjax.training.run_folder import RunFolder

from .small_runs import (
    assert_trees_equal,
    news_config,
    read_json,
    read_metrics,
    train,
    train_until_killed,
)
from .test_language_runs import play_config

BILSTM = {
    "epochs": 1,
    "data__validation": 0.1,
    "data__take": 120,
    "model__bidirectional": True,
    "model__features": 4,
    "model__dropout": 0.3,
    "averaging__decay": 0.9,
    "early_stopping__patience": 9,
    "evaluate_every": 3,
    "optimizer__clip_norm": 1.0,
    "checkpoint__every": 2,
    "log_every": 1,
}
LANGUAGE_MODEL = {
    "batch_size": 6,
    "epochs": 1,
    "model__dropout": 0.3,
    "model__embedding__features": 8,
    "model__embedding__tied": True,
    "model__regularization__embedding_dropout": 0.2,
    "model__regularization__weight_dropout": 0.2,
    "model__regularization__zoneout": 0.2,
}


def read_state(workdir):
    """Returns the arrays of the newest checkpoint."""
    checkpoints = RunFolder(workdir).open_checkpoints()
    restored = checkpoints.restore(checkpoints.shapes())
    assert restored is not None
    return restored[1]


def assert_close(actual, expected, tolerance=2e-6):
    """Fails unless arrays agree within rounding, and some bit differs: other devices have added."""
    pairs = [*zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True)]
    for leaf, expected_leaf in pairs:
        np.testing.assert_allclose(leaf, expected_leaf, rtol=0, atol=tolerance)
    assert any(not np.array_equal(*pair) for pair in pairs)


@pytest.fixture(scope="session")
def one_device(news, tmp_path_factory):
    """The state of a run on one device."""
    workdir = tmp_path_factory.mktemp("one") / "run"
    train(news_config(news, **BILSTM), workdir)
    return read_state(workdir)


def test_same_bits_on_any_number_of_devices(news, tmp_path):
    states, metrics, results = [], [], []
    for count in (1, 2, 4, 8):
        workdir = tmp_path / str(count)
        config = news_config(news, devices__data=count, deterministic_shards=8, **BILSTM)
        train(config, workdir)
        states.append(read_state(workdir))
        metrics.append(read_metrics(workdir))
        results.append(read_json(workdir / "result.json"))
    for state, lines, result in zip(states[1:], metrics[1:], results[1:], strict=True):
        assert_trees_equal(state, states[0])
        assert lines == metrics[0]
        assert result["test"] == results[0]["test"]


def test_checkpoint_is_restored_on_another_number_of_devices(news, tmp_path):
    configs = [
        news_config(news, devices__data=count, deterministic_shards=2, **BILSTM) for count in (1, 2)
    ]
    train(configs[0], tmp_path / "uninterrupted")
    for first, second in (configs, configs[::-1]):
        workdir = tmp_path / f"from-{first.devices.data}"
        train_until_killed(first, workdir, 5)
        assert train(second, workdir)["resumed_from"] == 4
        assert_trees_equal(read_state(workdir), read_state(tmp_path / "uninterrupted"))
        assert read_metrics(workdir) == read_metrics(tmp_path / "uninterrupted")
        shutil.rmtree(workdir)


def test_plain_shards_differ_by_rounding_alone(news, tmp_path, one_device):
    # The 16 rows of a batch are filled up to 18.
    train(news_config(news, devices__data=3, **BILSTM), tmp_path / "run")
    assert_close(read_state(tmp_path / "run"), one_device)


def test_large_arrays_are_shared_out(news, tmp_path, one_device, monkeypatch):
    monkeypatch.setattr(sharding, "_LARGE", 200)
    shard_state, shardings = sharding.Partition.shard_state, []

    def recorded(*arguments):
        shardings.append(shard_state(*arguments))
        return shardings[-1]

    monkeypatch.setattr(sharding.Partition, "shard_state", recorded)
    config = news_config(news, devices__data=4, devices__fsdp=2, **BILSTM)
    train(config, tmp_path / "run")
    table = shardings[0].params["embed"]["embedding"]
    rows, features = 64, 6
    assert table.shard_shape((rows, features)) in [(rows // 2, features), (rows, features // 2)]
    assert shardings[0].best.params["embed"]["embedding"] == table
    moments = [
        leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(shardings[0].opt_state)
        if "embedding" in jax.tree_util.keystr(path)
    ]
    assert moments == [table, table]
    assert_close(read_state(tmp_path / "run"), one_device)


def test_carry_follows_its_rows(play, tmp_path):
    for count in (1, 4):  # the 6 rows are filled up to 8
        train(play_config(play, devices__data=count, **LANGUAGE_MODEL), tmp_path / str(count))
    assert_close(read_state(tmp_path / "4"), read_state(tmp_path / "1"))


def test_replicates_are_shared_out_first(news, tmp_path):
    options = {"replicates": 2, "steps_per_call": 3, "epochs": 1, "model__dropout": 0.3}
    options |= {"data__take": 60, "data__buckets": 1}
    for count in (1, 4):
        train(news_config(news, devices__data=count, **options), tmp_path / str(count))
    assert_close(read_state(tmp_path / "4"), read_state(tmp_path / "1"))
