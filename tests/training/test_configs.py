"""Every config in configs/ is one, and trains."""

import math
from importlib import util
from pathlib import Path

import pytest

from rnnjax import config as schema
from rnnjax import training

pytest_plugins = ["training.small"]

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.py"))


def values_of(path):
    """Returns what a config says."""
    spec = util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config().to_dict()


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_takes_two_shrunk_steps(path, news, play, tmp_path):
    values = {**values_of(path), "epochs": 1}
    if values["task"] == "classification":
        values["data"] |= {"dir": str(news), "take": 2 * values["batch_size"]}
    elif values["task"] == "memory":
        values["data"]["memory"] |= {"examples": 2 * values["batch_size"], "test_examples": 9}
        values["data"]["validation"] = 0.5
    elif values["task"] == "translation":
        pytest.importorskip("sacrebleu", reason="translations are judged by sacrebleu, an extra")
        values["data"]["take"] = 2 * values["batch_size"]
        values["data"]["buckets"] = 1
        values["warmup_steps"] = 1
    else:
        values["data"] |= {"file": str(play), "take": 20}
        values["data"]["sequence_length"] = 200 // values["batch_size"]
    result = training.train(schema.parse(values), path.stem, tmp_path)
    rows = result["data"]["rows"]
    if values["task"] != "language_modeling":
        assert result["steps"] == 2
    else:
        assert result["steps"] == math.ceil(
            math.ceil(rows["train"] / values["batch_size"]) / values["data"]["sequence_length"]
        )
    assert result["test"]["rows"] == rows["test"]


def test_there_are_configs():
    stems = {path.stem for path in CONFIGS}
    assert stems >= {"simple_rnn", "masked_rnn", "lstm", "bilstm", "char_rnn", "word_lm"}
