"""The environment in the manifest of a run: versions, processor, settings and seed streams."""

import importlib.metadata
import json

import jax
import numpy as np
import pytest

from rnnjax.data.batches import permutation
from rnnjax.reporting.atomic_files import encode_json
from rnnjax.tasks.classification import data as labelled_text
from rnnjax.tasks.classification.task import ClassificationTask
from rnnjax.training import manifest, processor
from rnnjax.training import step as step_lib

from .small_runs import assert_trees_equal, initial_state, news_config


def test_environment_is_json_with_versions_devices_and_settings():
    environment = json.loads(encode_json(manifest.describe_environment("typed")))
    assert environment["command"] == "typed"
    assert environment["packages"]["jaxlib"] == importlib.metadata.version("jaxlib")
    assert environment["devices"] == ["cpu:0 cpu"]
    assert environment["processor"]
    assert {"vendor", "family", "model", "stepping"} <= set(environment["processor_identity"])
    assert (
        environment["threads"]["of_xla"] <= environment["cpus"] <= environment["threads"]["online"]
    )
    assert environment["driver"]
    assert environment["jax_config"] == {
        "default_matmul_precision": None,
        "default_prng_impl": "threefry2x32",
        "enable_x64": False,
        "threefry_partitionable": True,
    }
    with jax.default_matmul_precision("bfloat16"):
        assert (
            manifest.describe_environment("")["jax_config"]["default_matmul_precision"]
            == "bfloat16"
        )


X86 = """processor\t: 0
vendor_id\t: AuthenticAMD
cpu family\t: 25
model\t\t: 17
model name\t: AMD EPYC
stepping\t: 1
microcode\t: 0x1
flags\t\t: fpu sse4_2 avx2 avx512f fma smep amx_bf16 f16c

processor\t: 1
model name\t: another
"""
ARM = "processor : 0\nFeatures : fp asimd sve2 bf16\nCPU implementer : 0x41\nCPU part : 0xd40\n"


def test_processor_has_instruction_sets_and_caches(monkeypatch, tmp_path):
    folder = tmp_path / "cache" / "index2"
    folder.mkdir(parents=True)
    for name, text in (("level", "2"), ("type", "Unified"), ("size", "1024K")):
        (folder / name).write_text(f"{text}\n")
    assert processor._caches(folder.parent) == {"L2 unified": "1024K"}
    read = processor.read_text
    monkeypatch.setattr(processor, "read_text", lambda path: X86 if "info" in path else read(path))
    environment = processor.describe_processor()
    assert environment["processor"] == "AMD EPYC"
    identity = {"vendor": "AuthenticAMD", "family": "25", "model": "17", "stepping": "1"}
    assert environment["processor_identity"] == {**identity, "microcode": "0x1"}
    assert environment["instruction_sets"] == [
        "amx_bf16",
        "avx2",
        "avx512f",
        "f16c",
        "fma",
        "sse4_2",
    ]
    monkeypatch.setattr(processor, "read_text", lambda path: ARM if "info" in path else "")
    environment = processor.describe_processor()
    assert environment["instruction_sets"] == ["asimd", "bf16", "sve2"]
    assert environment["processor_identity"]["vendor"] == "0x41"
    monkeypatch.setattr(processor, "read_text", lambda path: "")
    assert processor.describe_processor()["instruction_sets"] == []


def test_driver_of_a_gpu_is_read(monkeypatch):
    class Device:
        platform = "gpu"

        class client:  # noqa: N801
            platform_version = "PJRT C API\ncuda 12090"

    version_file = (
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.15  Release Build\n"
        "GCC version:  gcc 12.3.0\n"
    )
    monkeypatch.setattr(
        manifest, "read_text", {"/proc/driver/nvidia/version": version_file}.__getitem__
    )
    assert manifest._driver(Device()) == "PJRT C API cuda 12090, NVIDIA driver 570.86.15"  # type: ignore
    monkeypatch.setattr(manifest, "read_text", lambda path: "")
    assert manifest._driver(Device()) == "PJRT C API cuda 12090"  # type: ignore


def test_seed_streams_are_those_that_the_tests_below_draw_from():
    assert manifest.SEED_STREAMS["parameters"] == "jax.random.fold_in(jax.random.key(seed), 0)"
    key = "jax.random.fold_in(jax.random.key(seed), 1)"
    assert manifest.SEED_STREAMS["dropout"] == f"jax.random.fold_in({key}, step)"
    assert manifest.SEED_STREAMS["validation rows"] == "permutation(rows, seed, 4294967295)"
    assert manifest.SEED_STREAMS["order of batches"] == "permutation(groups, seed, epoch, 0)"
    order = "permutation(rows_of_bucket, seed, epoch, 1 + bucket)"
    assert manifest.SEED_STREAMS["order of rows"] == order


def test_parameters_and_dropout_use_the_documented_streams(news, monkeypatch):
    config = news_config(news, model__dropout=0.5)
    dataset = labelled_text.make_dataset(config, labelled_text.load_corpus(config.data))
    task = ClassificationTask.from_config(config, len(dataset.vocabulary), dataset.describe())
    state = initial_state(config)
    key = jax.random.fold_in(jax.random.key(config.seed), 0)
    assert_trees_equal(state.params, jax.jit(task.init)(key))
    keys = []
    monkeypatch.setattr(
        ClassificationTask, "loss", lambda *arguments: keys.append(arguments[-1]) or stop()
    )

    def stop():
        raise InterruptedError

    step = step_lib.make_train_step(task, None, [config.seed])  # type: ignore
    with pytest.raises(InterruptedError), jax.disable_jit():
        step._function(state.replace(step=7), dataset.train.batch_group_at(config.seed, 7, 1))
    expected = jax.random.fold_in(jax.random.fold_in(jax.random.key(config.seed), 1), 7)
    assert (jax.random.key_data(keys[0]) == jax.random.key_data(expected)).all()


def test_rows_and_batches_use_the_documented_streams(news, several_lengths):
    config = news_config(news, data__validation=0.25)
    corpus = labelled_text.load_corpus(config.data)
    dataset = labelled_text.make_dataset(config, corpus)
    order = permutation(240, config.seed, 4294967295)
    labels = corpus.splits["train"].labels
    assert dataset.validation is not None
    np.testing.assert_array_equal(dataset.validation.targets, labels[np.sort(order[:60])])
    train, epoch, size = dataset.train, 2, config.batch_size
    lengths = train.sequences.lengths
    bucket_of = np.searchsorted(train.boundaries, lengths)
    batches = []
    for bucket in sorted(set(bucket_of)):
        rows = np.flatnonzero(bucket_of == bucket)
        rows = rows[permutation(len(rows), config.seed, epoch, 1 + bucket)]
        batches += [rows[start : start + size] for start in range(0, len(rows), size)]
    assert len(set(bucket_of)) > 1
    order = permutation(len(batches), config.seed, epoch, 0)
    begin = epoch * train.steps_per_epoch
    for index, place in enumerate(order):
        np.testing.assert_array_equal(train.indices_at(config.seed, begin + index), batches[place])
