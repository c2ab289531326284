"""Exported folders of networks of each task: answers, self-check, damage and refusals."""

import dataclasses
import hashlib
import json
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from training.small_runs import make_config, news_config

from rnnjax.cli.launcher import run_command
from rnnjax.config import Config
from rnnjax.errors import InputError
from rnnjax.exporting import run as exported
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


def mask_free_config(news: Path) -> Config:
    changes = {"layers": 2, "bidirectional": True, "mask": False}
    return news_config(news, **{f"model__{key}": value for key, value in changes.items()})


def gated_delta_config(news: Path, **block: Any) -> Config:
    """Returns `configs/gated_deltanet.py`, small."""
    block = {"features": 8, "groups": 2, "gate": True, **block}
    changes = {"cell": "GatedDeltaNetCell(heads=2)", "layers": 2, "pooling": "max"}
    changes = {f"model__{key}": value for key, value in changes.items()}
    return news_config(news, model__block=block, **changes)


@pytest.fixture(scope="module")
def folder(news, tmp_path_factory) -> Path:
    """The folder of a two-layer bidirectional classifier without a mask."""
    run = untrained_run(mask_free_config(news))
    return write_folder(run, tmp_path_factory.mktemp("exports") / "classifier")


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
    generator = random.Random(0)
    lines = [" ".join(generator.choices(["the", "king", "is", "here"], k=5)) for _ in range(24)]
    file = write_lines(folder / "play.txt", lines)
    data = {"file": file, "test_file": file, "sequence_length": 9}
    data |= {"vocabulary": {"unit": "character", "size": 30}}
    model = {"cell": "LRUCell", "features": 6, "layers": 2, "embedding": {"features": 4}}
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
    assert len(examples["inputs"]) == len(examples["answers"]) >= 6


def test_answers_of_matrix_states_in_blocks_agree(news, tmp_path):
    run = untrained_run(gated_delta_config(news, convolution=4))
    output = write_folder(run, tmp_path / "export")
    program = json.loads((output / "model.json").read_text())["programs"]["model"]["body"]
    assert {"sort", "scan"} <= {name for name, *_ in program["equations"]}


def test_folder_answers_without_jax(folder, news):
    code = (
        "import runpy, sys\n"
        "class Refusal:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name.split('.')[0] in {'jax', 'jaxlib', 'flax', 'scipy', 'rnnjax'}:\n"
        "            raise ImportError(name)\n"
        "sys.meta_path.insert(0, Refusal())\n"
        "sys.path[0] = sys.argv[1]\n"
        "sys.argv = [sys.argv[1] + '/run.py', *sys.argv[2:]]\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    texts = ["goal season coach", "shares of the company", ""]
    command = [sys.executable, "-B", "-c", code, str(folder), *texts]
    process = subprocess.run(command, capture_output=True, text=True, check=True)
    answers = [json.loads(line) for line in process.stdout.splitlines()]
    run = untrained_run(mask_free_config(news))
    expected = [dict(answer.values) for answer in run.predictions(texts)]
    assert exported.compare(answers, expected, 1e-5) == ""


def test_stablehlo_computes_what_the_program_does(folder):
    model = exported.Model(folder)
    program = model.description["programs"]["model"]
    tokens, mask = (
        np.array([[2, 3, 4], [5, 0, 0]], np.int32),
        np.array([[1, 1, 1], [1, 0, 0]], bool),
    )
    function = jax.export.deserialize(bytearray((folder / "model.stablehlo").read_bytes()))
    params = {name: model.tensors[name] for name in program["parameters"]}
    expected = function.call(params, tokens, mask)["log_probabilities"]
    actual = model.run("model", inputs=tokens, mask=mask)["log_probabilities"]
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "name", ["model.safetensors", "model.json", "tokenizer.json", "run.py", "README.md"]
)
def test_altered_file_is_named(folder, tmp_path, name):
    altered = shutil.copytree(folder, tmp_path / "altered")
    content = bytearray((altered / name).read_bytes())
    content[len(content) // 2] ^= 1
    (altered / name).write_bytes(content)
    assert exported.check(altered) == [f"{name}: differs from its fingerprint in fingerprints.json"]
    (altered / name).unlink()
    with pytest.raises(exported.DamagedFolderError, match=f"{name}: cannot be read"):
        exported.Model(altered)


def test_other_parameters_fail_the_check(folder, tmp_path):
    altered = shutil.copytree(folder, tmp_path / "altered")
    path = altered / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 64  # the exponent of the last number
    path.write_bytes(content)
    digests = json.loads((altered / "fingerprints.json").read_text())
    digests["sha256"][path.name] = hashlib.sha256(content).hexdigest()
    (altered / "fingerprints.json").write_text(json.dumps(digests))
    problems = exported.check(altered)
    assert problems
    assert problems[0].startswith("examples.json, example 1: answer['")


def test_card_has_data_and_limits(folder):
    card = (folder / "README.md").read_text()
    for phrase in ("ag_news_csv", "Classes: World, Sports", "without a mask", "non-commercial"):
        assert phrase in card
    assert str(Path.cwd()) not in card


def test_task_without_answers_is_refused(tmp_path):
    config = make_config({"task": "memory", "model": CELL})
    with pytest.raises(InputError, match="'memory', which has no form that answers without JAX"):
        write_folder(untrained_run(config), tmp_path / "export")


def test_existing_folder_is_refused(folder, news):
    with pytest.raises(InputError, match="which exists; expected a new folder"):
        write_folder(untrained_run(mask_free_config(news)), folder)


def test_missing_data_asks_for_examples(news, tmp_path):
    run = untrained_run(mask_free_config(news))
    data = run.config.data.model_copy(update={"dir": str(tmp_path / "none")})
    run = dataclasses.replace(run, config=run.config.model_copy(update={"data": data}))
    with pytest.raises(InputError, match="give texts of your own by --examples FILE"):
        write_folder(run, tmp_path / "export")
    assert list(tmp_path.iterdir()) == []


def test_library_that_is_missing_is_named(news, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"rnnjax\[export\]"):
        write_folder(untrained_run(mask_free_config(news)), tmp_path / "export")


def test_command_exports_a_trained_run(finished, tmp_path):
    (tmp_path / "texts.txt").write_text("goal season\n\nprofit and shares\n")
    flags = [f"--workdir={finished}", f"--output={tmp_path / 'export'}"]
    assert run_command("export", [*flags, f"--examples={tmp_path / 'texts.txt'}"]) == 0
    examples = json.loads((tmp_path / "export" / "examples.json").read_text())
    assert examples["inputs"] == ["goal season", "profit and shares"]
    card = (tmp_path / "export" / "README.md").read_text()
    assert "| accuracy | 0." in card
