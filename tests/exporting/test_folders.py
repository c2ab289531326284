"""Exported folders of networks of each task: answers, self-check, damage and refusals."""

import json
import random
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from training.small_runs import make_config, news_config

import run as exported
from rnnjax.config import Config
from rnnjax.exporting.folder import write_folder
from rnnjax.tasks.registry import find_task
from rnnjax.tasks.trained_run import TrainedRun
from rnnjax.training.step import make_evaluate_step

CELL = {"cell": "GRUCell", "features": 6}
TEXT = {"model": {**CELL, "embedding": {"features": 4}}, "data": {"vocabulary": {"size": 30}}}


def untrained_run(config: Config) -> TrainedRun:
    """Returns a network of random parameters, as if loaded from an unfinished run."""
    task_class = find_task(config.task)
    dataset = task_class.make_dataset(config, task_class.load_corpus(config))
    task = task_class.from_config(config, dataset.vocab_size, dataset.describe())
    generator = np.random.default_rng(0)
    shapes = jax.eval_shape(task.init, jax.random.key(0))
    params = jax.tree.map(lambda leaf: generator.standard_normal(leaf.shape, np.float32), shapes)
    return task_class.trained_run()(
        config=config,
        task=task,
        data=dataset.describe(),
        vocabulary=dataset.vocabulary,  # pyright: ignore[reportArgumentType]
        boundaries=(),
        params=params,
        step=0,
        evaluate_step=make_evaluate_step(task),
        folder=Path("runs/small"),
    )


@pytest.fixture(scope="module")
def folder(news, tmp_path_factory) -> Path:
    """The folder of a two-layer bidirectional classifier without a mask."""
    changes = {"layers": 2, "bidirectional": True, "mask": False}
    config = news_config(news, **{f"model__{key}": value for key, value in changes.items()})
    return write_folder(untrained_run(config), tmp_path_factory.mktemp("exports") / "classifier")


def write_lines(path: Path, lines: list[str]) -> str:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def make_tagging_config(folder: Path) -> Config:
    rows = ["Ada B", "saw O", "Paris B", "", "New B", "York I", "", "old O", "Ada B", ""] * 4
    file = write_lines(folder / "tags.txt", rows)
    options = {"output": "crf", "character_features": 3}
    data = {**TEXT["data"], "file": file, "test_file": file}
    return make_config({**TEXT, "task": "tagging", "data": data, "tagging": options})


def make_language_config(folder: Path) -> Config:
    words = random.Random(0).choices(["the", "king", "is", "here", "and", "so", "art", "thou"], k=120)
    lines = [" ".join(words[n : n + 5]) for n in range(0, len(words), 5)]
    data = {"file": write_lines(folder / "play.txt", lines), "sequence_length": 9}
    data |= {"vocabulary": {"unit": "character", "size": 30}}
    model = {"cell": "LSTMCell", "features": 6, "layers": 2, "embedding": {"features": 4}}
    return make_config({"task": "language_modeling", "model": model, "data": data})


def make_translation_config(folder: Path) -> Config:
    pytest.importorskip("sacrebleu", reason="translations are scored by sacrebleu, an extra")
    words = {"eins": "one", "zwei": "two", "drei": "three"}
    rows = [random.Random(n).choices(sorted(words), k=1 + n % 4) for n in range(24)]
    for split in ("train", "val", "test_2016_flickr"):
        write_lines(folder / f"{split}.de", [" ".join(row) for row in rows])
        write_lines(folder / f"{split}.en", [" ".join(map(words.__getitem__, row)) for row in rows])
    options = {"source": "de", "target": "en", "beam_size": 2, "coverage_penalty": 0.2}
    data = {**TEXT["data"], "dir": str(folder)}
    return make_config({**TEXT, "task": "translation", "data": data, "translation": options})


def make_series_config(folder: Path, **options: Any) -> Config:
    generator = np.random.default_rng(0)
    values = generator.normal(5, 2, (30, 6, 2))
    values[generator.random(values.shape) < 0.1] = np.nan
    labels = np.where(generator.random((30, 6)) < 0.5, "high", "low")
    np.savez(folder / "series.npz", values=values, lengths=[4, 5, 6] * 10, label=labels)
    data = {"file": str(folder / "series.npz"), "test_file": str(folder / "series.npz")}
    section = {"output": "step_class", "missing": "mask"}
    return make_config({"task": "time_series", "model": CELL, "data": data, "time_series": section})


def make_forecast_config(folder: Path) -> Config:
    steps = np.arange(300)
    series = np.stack([10 + np.sin(steps / 3), 100 * np.cos(steps / 3)], axis=1)
    np.save(folder / "sine.npy", series.astype(np.float32))
    section = {"output": "forecast", "horizon": 3, "loss": "quantile"}
    data = {"file": str(folder / "sine.npy"), "sequence_length": 10}
    return make_config({"task": "time_series", "model": CELL, "data": data, "time_series": section})


@pytest.mark.parametrize(
    "make",
    [
        make_tagging_config,
        make_language_config,
        make_translation_config,
        make_series_config,
        make_forecast_config,
    ],
)
def test_answers_of_every_task_agree(make, tmp_path):
    output = write_folder(untrained_run(make(tmp_path)), tmp_path / "export")
    examples = json.loads((output / "examples.json").read_text())
    assert len(examples["inputs"]) > 3
    assert exported.check(output) == []
