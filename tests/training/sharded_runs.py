"""Runs on eight simulated devices, which `test_sharding` collects in a process of its own."""

import math
import re

import jax
import numpy as np
import pytest

from rnnjax.training import planning, sharding
from rnnjax.training.launch import build_steps
from rnnjax.training.replicates import batch_group_at
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
    "data__take": 90,
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
        np.testing.assert_allclose(leaf, expected_leaf, rtol=tolerance, atol=tolerance)
    assert any(not np.array_equal(*pair) for pair in pairs)


@pytest.fixture(scope="session")
def one_device(news, tmp_path_factory):
    """The state of a run on one device."""
    workdir = tmp_path_factory.mktemp("one") / "run"
    train(news_config(news, **BILSTM), workdir)
    return read_state(workdir)


def deterministic(news, count):
    """Returns the config of a run on a number of devices that all agree in every bit."""
    return news_config(news, devices__data=count, deterministic_shards=8, **BILSTM)


@pytest.fixture(scope="session")
def deterministic_run(news, tmp_path_factory):
    """The folder of such a run on one device."""
    workdir = tmp_path_factory.mktemp("deterministic") / "run"
    train(deterministic(news, 1), workdir)
    return workdir


@pytest.mark.parametrize("count", [2, 4, 8])
def test_same_bits_on_any_number_of_devices(news, tmp_path, deterministic_run, count):
    train(deterministic(news, count), tmp_path / "run")
    assert_trees_equal(read_state(tmp_path / "run"), read_state(deterministic_run))
    assert read_metrics(tmp_path / "run") == read_metrics(deterministic_run)
    scores, expected = (
        read_json(path / "result.json")["test"] for path in (tmp_path / "run", deterministic_run)
    )
    assert scores == expected


@pytest.mark.parametrize(("first", "second"), [(1, 2), (2, 1)])
def test_run_is_resumed_on_another_number_of_devices(
    news, tmp_path, deterministic_run, first, second
):
    train_until_killed(deterministic(news, first), tmp_path / "run", 3)
    assert train(deterministic(news, second), tmp_path / "run")["resumed_from"] == 2
    assert_trees_equal(read_state(tmp_path / "run"), read_state(deterministic_run))
    assert read_metrics(tmp_path / "run") == read_metrics(deterministic_run)


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


def reduced_bytes(program):
    """Returns the bytes of float32 arrays that a compiled program adds over devices."""
    shapes = [
        shape
        for line in program.splitlines()
        if " all-reduce(" in line
        for shape in re.findall(r"f32\[([\d,]*)\]", line.split(" all-reduce(")[0])
    ]
    return sum(4 * math.prod(int(size) for size in shape.split(",") if size) for shape in shapes)


def test_planned_exchange_is_that_of_the_compiled_step(news):
    config = news_config(news, devices__data=4, replicates=2, data__bucketing=False)
    run = planning.load_unstarted(config)
    plan = planning.make_plan(run, memory_limit=1)
    steps = build_steps(config, run.partition, run.replicates, run.task)
    batches = batch_group_at(run.replicates, 0, 1)
    program = steps.train.compile(steps.initial.shapes, batches).as_text()
    two, four, _ = plan.exchanges
    sums = 3 * 4  # of the loss, the accuracy and the weight
    assert four.reduced_bytes == reduced_bytes(program) - sums
    assert four.sent_bytes == four.reduced_bytes  # two groups of two devices
    assert (two.reduced_bytes, two.sent_bytes) == (0, 0)  # a replicate each
