"""Event files and traces: what they hold, and that they change nothing."""

import importlib.util
import struct
from collections import defaultdict

import jax
import numpy as np
import pytest

from rnnjax.errors import InputError
from rnnjax.training.watching import FOLDER, TRACE, layer_norms

from .small_runs import news_config, read_json, read_metrics, restore_state, train
from .test_language_runs import play_config

CONFIG = {"model__cell": "SimpleCell", "epochs": 1, "log_every": 4, "data__validation": 0.1}


def read_events(folder):
    """Returns the scalars and texts of event files: by tag, the value of each step."""
    event_pb2 = pytest.importorskip("tensorboardX.proto.event_pb2")
    events = defaultdict(dict)
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        while content:
            (length,) = struct.unpack("<Q", content[:8])
            event = event_pb2.Event.FromString(content[12 : 12 + length])
            content = content[16 + length :]
            for value in event.summary.value:
                texts = [text.decode() for text in value.tensor.string_val]
                events[value.tag][event.step] = texts[0] if texts else value.simple_value
    return events


def test_event_files_and_trace_change_nothing(news, tmp_path):
    pytest.importorskip("tensorboardX")
    config = news_config(news, tensorboard=True, profile=3, **CONFIG)
    result = train(config, tmp_path / "watched")
    unwatched = train(news_config(news, **CONFIG), tmp_path / "run")
    assert result["test"] == unwatched["test"]
    metrics = read_metrics(tmp_path / "watched")
    assert metrics == read_metrics(tmp_path / "run")
    assert [path.suffixes[-1] for path in (tmp_path / "watched" / TRACE).rglob("*.pb")] == [".pb"]
    assert not (tmp_path / "run" / TRACE).exists()

    events = read_events(tmp_path / "watched" / FOLDER)
    for line in metrics:
        for name in ("loss", "accuracy"):
            if line["split"] != "test":
                event = events[f"{line['split']}/{name}"][line["step"]]
                assert event == pytest.approx(line[name], rel=1e-6)
    state, last = restore_state(config, tmp_path / "watched"), metrics[-1]["step"]
    norms = {
        tag.partition("/")[2]: steps[last] for tag, steps in events.items() if "parameter" in tag
    }
    assert norms == pytest.approx(layer_norms(state.params), rel=1e-6)
    gradients = [steps for tag, steps in events.items() if tag.startswith("gradient_norm/")]
    assert len(gradients) == len(norms)
    assert all(0 < value < 10 for steps in gradients for value in steps.values())
    assert all(0 <= share < 1 for share in events["resources/padding"].values())
    assert all(speed > 0 for speed in events["resources/rows_per_second"].values())
    parts = {
        tag.partition("/")[2]: steps[last]
        for tag, steps in events.items()
        if tag.startswith("step_seconds/")
    }
    assert parts.keys() >= {"batches", "step", "other"}
    assert 0 < parts["batches"] < 1
    assert 0 < parts["step"] < 60


def test_run_is_resumed_with_event_files(news, tmp_path):
    pytest.importorskip("tensorboardX")
    train(news_config(news, **CONFIG), tmp_path)
    train(news_config(news, **{**CONFIG, "tensorboard": True, "epochs": 2}), tmp_path)
    steps = read_json(tmp_path / "result.json")["steps"]
    assert max(read_events(tmp_path / FOLDER)["train/loss"]) == steps


def test_texts_of_a_language_model_are_shown_after_each_validation(play, tmp_path):
    pytest.importorskip("tensorboardX")
    train(play_config(play, tensorboard=True), tmp_path / "run")
    sample = read_json(tmp_path / "run" / "result.json")["sample"]["text"]
    shown = read_events(tmp_path / "run" / FOLDER)["sample/text_summary"]
    validations = [line for line in read_metrics(tmp_path / "run") if line["split"] == "validation"]
    assert list(shown) == [line["step"] for line in validations]
    assert len(set(shown.values())) == len(shown) == 2
    assert [*shown.values()][-1] == "\n".join(f"    {line}" for line in sample.split("\n"))


def test_norms_are_by_layer():
    params = {
        "embed": {"embedding": np.full((2, 2), 2.0, np.float32)},
        "recurrent": {"layers_0": {"cell": {"kernel": np.array([3.0]), "bias": np.array([4.0])}}},
    }
    norms = layer_norms(jax.tree.map(jax.numpy.asarray, params))
    assert norms == pytest.approx({"embed": 4.0, "recurrent/layers_0": 5.0})


def test_missing_library_is_named_before_work(news, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"config\.tensorboard: .*pip install 'rnnjax\[tensorb"):
        train(news_config(news, tensorboard=True), tmp_path / "run")
    assert not (tmp_path / "run").exists()
