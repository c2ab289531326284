"""Every config in configs/ is valid, and trains."""

import math
import runpy
from pathlib import Path

import pytest
from tasks.test_tagging import write_columns

from rnnjax.config import parse

from .small_runs import train

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.py"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_config_takes_two_steps_on_little_data(path, news, play, tmp_path):
    values = {**runpy.run_path(str(path))["get_config"]().to_dict(), "epochs": 1}
    if values["task"] == "classification":
        values["data"] |= {"dir": str(news), "take": 2 * values["batch_size"]}
    elif values["task"] == "memory":
        values["memory"] |= {"examples": 2 * values["batch_size"], "test_examples": 9}
        values["data"]["validation"] = 0.5
        values["warmup_steps"] = 0
    elif values["task"] == "translation":
        pytest.importorskip("sacrebleu", reason="translations are scored by sacrebleu, an extra")
        values["data"]["take"] = 2 * values["batch_size"]
        values["data"]["buckets"] = 1
        values["warmup_steps"] = 1
    elif values["task"] == "tagging":
        columns = tmp_path / "columns.txt"
        write_columns(columns, 2 * values["batch_size"], 0)
        values["data"] |= {"file": str(columns), "test_file": str(columns)}
        values["data"] |= {"validation": 0.0, "buckets": 1}
    elif values["task"] == "time_series":
        # The generated series alternate between their classes.
        values["data"] |= {"take": 2 * values["batch_size"], "validation": 0.0, "buckets": 1}
        values["data"]["bucketing"] = False
    else:
        values["data"] |= {"file": str(play), "take": 20}
        values["data"]["sequence_length"] = 200 // values["batch_size"]
    result = train(parse(values), tmp_path / "run", path.stem)
    rows = result["data"]["rows"]
    if values["task"] != "language_modeling":
        assert result["steps"] == 2
    else:
        tokens = math.ceil(rows["train"] / values["batch_size"])
        assert result["steps"] == math.ceil(tokens / values["data"]["sequence_length"])
    assert result["test"]["rows"] == rows["test"]


def test_configs_of_the_lesson_exist():
    stems = {path.stem for path in CONFIGS}
    assert stems >= {"simple_rnn", "masked_rnn", "lstm", "bilstm", "char_rnn", "word_lm"}
