"""Tasks from outside the package: the one on the page, and one on a stream of numbers."""

import importlib
import json
import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
from training.small_runs import (
    assert_trees_equal,
    make_config,
    read_json,
    read_metrics,
    train,
    train_until_killed,
)

from rnnjax import training
from rnnjax.config import load_config
from rnnjax.errors import InputError
from rnnjax.tasks import Prediction
from rnnjax.testing.tasks import TaskError, check_task, task_checks

PAGE = Path(__file__).parents[2] / "rnnjax/tasks/README.md"
BLOCKS = re.findall(
    r"```(\w+)\n(.*?)```", PAGE.read_text(encoding="utf-8").split("## A new task")[1], re.S
)

FORECAST = '''
"""Predicts the next number of a series, with a state carried on through the training."""

import jax.numpy as jnp
import numpy as np

from rnnjax.config.sections import ConfigSection
from rnnjax.config.task_schema import RECURRENT_KEYS, TaskSchema
from rnnjax.data.dataset import Dataset, Source
from rnnjax.data.streams import Stream
from rnnjax.models import SequenceModel
from rnnjax.tasks import Prediction, SequenceTask, StreamTask, recurrent_options


class ForecastConfig(ConfigSection):
    """A series of numbers."""

    steps: int = 600
    """Steps of the series."""


def cut(config, series, **options):
    inputs, targets = series[:-1, None], series[1:]
    return Stream(inputs, targets, config.batch_size, config.data.sequence_length, **options)


class Forecast(SequenceTask, StreamTask):
    keys = (*RECURRENT_KEYS, "data.sequence_length", "data.restarts", "data.shuffle")
    schema = TaskSchema(name="forecast", section=ForecastConfig, keys=keys, ordered=True)
    headline_metrics = ("loss",)

    @staticmethod
    def load_corpus(config):
        return np.sin(np.arange(config.forecast.steps) / 3).astype(np.float32)

    @staticmethod
    def make_dataset(config, corpus, vocabulary=None, sibling=None):
        options = {"shuffle": config.data.shuffle, "restarts": config.data.restarts}
        train, test = cut(config, corpus, **options), cut(config, corpus, shuffle=False)
        return Dataset(Source("sine", "a sine", str(len(corpus))), None, train, None, test)

    @classmethod
    def from_config(cls, config, vocab_size, metadata):
        model = SequenceModel(outputs=1, **recurrent_options(config.model, config.dtype))
        return cls(model, features=1)

    def batch_sums(self, params, batch, carry, **options):
        state = self.start_state(params, batch, carry)
        state, outputs = self.read(params, batch.inputs, batch.mask, state, **options)
        losses = jnp.square(outputs[..., 0] - batch.targets) * batch.weights
        weight = jnp.sum(batch.weights)
        sums = {"loss": jnp.sum(losses), "accuracy": jnp.zeros(()), "weight": weight}
        return {**sums, "values": outputs[..., 0]}, state

    def read_split(self, run, path):
        return cut(run.config, np.load(path), shuffle=False)

    def predictions(self, split, outputs):
        values = np.concatenate([batch["values"] for batch in outputs], axis=1)
        for value in values.ravel()[: len(split)].tolist():
            yield Prediction(f"{value:.4f}", {"value": value})
'''


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory with the modules of both tasks, the config of the page, and data."""
    (language, code), (_, config), *_ = BLOCKS
    assert language == "python"
    (tmp_path / "labelling.py").write_text(code, encoding="utf-8")
    (tmp_path / "labels.py").write_text(config, encoding="utf-8")
    (tmp_path / "forecast.py").write_text(FORECAST, encoding="utf-8")
    (tmp_path / "data").mkdir()
    generator = np.random.default_rng(0)
    for name, rows in (("train", 60), ("test", 20)):
        values = generator.normal(size=(rows, 9, 2)).astype(np.float32)
        labels = (values.cumsum(axis=1) > 0).sum(axis=-1)
        lengths = generator.integers(1, 10, rows)
        np.savez(tmp_path / "data" / f"{name}.npz", values=values, labels=labels, lengths=lengths)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in ("labelling", "forecast"):
        sys.modules.pop(name, None)


def label_config(**values):
    small = {"labelling.dir": "data", "model.features": 4, "epochs": 3, "checkpoint.every": 5}
    return load_config("labels.py", {**small, "data.validation": 0.1, **values})


def test_class_beyond_the_outputs_is_refused_before_training(folder):
    with np.load("data/test.npz") as file:
        arrays = dict(file)
    row = int(np.flatnonzero(arrays["lengths"] > 2)[0])
    arrays["labels"][row, 2] = 7
    np.savez("data/other.npz", **arrays)
    train(label_config(epochs=1), folder / "run")
    run = training.load_run(folder / "run", trust=True)
    with pytest.raises(InputError, match=rf"other.npz, row {row + 1}, step 3: the class is 7, and"):
        run.evaluate("data/other.npz")
    np.savez("data/test.npz", **arrays)
    message = f"data: test split, row {row + 1}, step 3: the class is 7, and the network has 3 outp"
    with pytest.raises(InputError, match=message):
        train(label_config(), folder / "second")
    assert not (folder / "second" / "metrics.jsonl").exists()


def test_task_on_the_page_is_short():
    assert len(BLOCKS[0][1].splitlines()) <= 60


def test_commands_serve_a_task_from_outside(folder, run_in_process):
    flags = ("--config=labels.py", "--config.labelling.dir=data", "--config.model.features=4")
    for cell in ("GRUCell", "SimpleCell"):
        for seed in (0, 1):
            result = run_in_process(
                *("train", *flags, f"--config.model.cell={cell}", f"--config.seed={seed}"),
                f"--workdir=runs/{cell}-{seed}",
            )
            assert result.status == 0, result.err
    workdir = "--workdir=runs/GRUCell-0"
    scores = read_json(Path("runs/GRUCell-0/result.json"))["test"]
    result = run_in_process("evaluate", workdir, "--data=data/test.npz")
    assert result.status == 2
    assert "class Labelling of the module labelling" in result.err
    result = run_in_process("evaluate", workdir, "--data=data/test.npz", "--trust")
    assert json.loads(result.out) == scores
    result = run_in_process("predict", workdir, "--data=data/test.npz", "--trust", "--json")
    answers = [json.loads(line)["labels"] for line in result.out.splitlines()]
    with np.load("data/test.npz") as file:
        labels = [row[:length] for row, length in zip(file["labels"], file["lengths"], strict=True)]
    hits = np.concatenate([np.equal(a, b) for a, b in zip(answers, labels, strict=True)])
    assert hits.mean() == pytest.approx(scores["accuracy"])
    result = run_in_process("compare", "runs/GRUCell-*", "runs/SimpleCell-*")
    assert result.status == 0, result.err
    assert "config: model.cell: 'GRUCell', 'SimpleCell'" in result.out
    assert run_in_process("lint", "labels.py").status == 0
    report = Path("runs/GRUCell-0/report.html").read_text(encoding="utf-8")
    assert "is the loss on 20 rows of the test split" in report


def test_commands_serve_a_stream_from_outside(folder, run_in_process):
    series = np.sin(np.arange(600) / 3).astype(np.float32)  # of the task itself
    np.save("series.npy", series)
    Path("forecasts.py").write_text(
        """import ml_collections

from rnnjax.config import defaults


def get_config():
    config = ml_collections.ConfigDict(defaults("forecast:Forecast"))
    config.batch_size = 4
    config.epochs = 30
    config.data.sequence_length = 10
    config.model.features = 4
    return config
""",
        encoding="utf-8",
    )
    assert run_in_process("lint", "forecasts.py").status == 0
    for cell in ("GRUCell", "SimpleCell"):
        result = run_in_process(
            *("train", "--config=forecasts.py", f"--config.model.cell={cell}"),
            f"--workdir=runs/{cell}",
        )
        assert result.status == 0, result.err
    scores = read_json(Path("runs/GRUCell/result.json"))["test"]
    asked = ("--workdir=runs/GRUCell", "--data=series.npy", "--trust")
    assert json.loads(run_in_process("evaluate", *asked).out) == scores
    lines = run_in_process("predict", *asked, "--json").out.splitlines()
    values = np.array([json.loads(line)["value"] for line in lines])
    assert np.square(values - series[1:]).mean() == pytest.approx(scores["loss"], rel=1e-4)
    result = run_in_process("compare", "runs/GRUCell", "runs/SimpleCell")
    assert "config: model.cell: 'GRUCell', 'SimpleCell'" in result.out, result.err


def test_experiment_records_a_task_from_outside(folder, run_in_process):
    plan = Path("experiments/labels/experiment.toml")
    plan.parent.mkdir(parents=True)
    plan.write_text(
        """flags = ["--config.labelling.dir=data", "--config.model.features=4"]
seeds = [0, 1]
scores = ["loss", "accuracy"]

[[entry]]
config = "labels.py"
about = "a label for each step"
claims = { "test.accuracy" = [0.0, 1.0] }
""",
        encoding="utf-8",
    )
    page = plan.parent / "README.md"
    page.write_text("# Labels\n\n<!-- runs: begin -->\n<!-- runs: end -->\n", encoding="utf-8")
    result = run_in_process("experiment", "experiments/labels")
    assert result.status == 0, result.err
    runs = (plan.parent / "runs.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["config"]["task"] for line in runs] == ["labelling:Labelling"] * 2
    result = run_in_process("experiment", "--check", "experiments/labels")
    assert result.out.endswith("6 PASS, 0 FAIL, 0 INCOMPARABLE, 0 UNCHECKED\n"), result.out


@pytest.mark.parametrize("name", ["labelling", "forecast"])
def test_killed_run_resumes_to_the_same_end(folder, tmp_path, name):
    if name == "labelling":
        config = label_config()
    else:
        values = {"task": "forecast:Forecast", "batch_size": 4, "epochs": 2}
        values |= {"data": {"sequence_length": 10, "restarts": 0.2}, "checkpoint": {"every": 7}}
        config = make_config(values, model__features=4, model__cell="GRUCell")
    train(config, tmp_path / "whole")
    train_until_killed(config, tmp_path / "killed", 8)
    train(config, tmp_path / "killed")
    runs = [training.load_run(tmp_path / end, trust=True) for end in ("whole", "killed")]
    assert_trees_equal(*(run.params for run in runs))
    assert read_metrics(tmp_path / "whole") == read_metrics(tmp_path / "killed")
    losses = [line["loss"] for line in read_metrics(tmp_path / "whole")]
    assert losses[-1] < losses[0]


def test_replicates_are_trained_together(folder, tmp_path):
    result = training.train(label_config(replicates=2, epochs=1), "labels", tmp_path / "run")
    assert len(result["test"]["accuracy"]["by_seed"]) == 2
    run = training.load_run(tmp_path / "run" / "seed-1", trust=True)
    assert run.evaluate("data/test.npz")["loss"] == result["test"]["loss"]["by_seed"][1]
    with pytest.raises(InputError, match=r"Labelling.*`--trust|which is not part of the package"):
        training.load_run(tmp_path / "run" / "seed-1")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"labelling.folder": "x"}, r"config\.labelling\.folder: there is no such key"),
        (
            {"labelling.dir": 3},
            r"config\.labelling\.dir: given 3 \(int\), it should be",
        ),
        (
            {"data.file": "x"},
            r"data\.file is 'x', which is read by the task 'classification', 'language_mod",
        ),
        ({"task": "labelling:read"}, r"config\.task: given 'labelling:read', and labelling has no"),
        ({"task": "labelling:Missing"}, r"config\.task: .* labelling has no task"),
    ],
)
def test_config_of_a_task_from_outside_is_checked(folder, values, message):
    with pytest.raises(InputError, match=message):
        label_config(**values)


def test_help_lists_the_keys_of_a_task_from_outside(folder, run_in_process):
    for flags in (["--config=labels.py"], ["--config=lstm", "--config.task=labelling:Labelling"]):
        result = run_in_process("train", *flags, "--help")
        assert "Folder of train.npz and test.npz" in result.out


def test_metadata_that_the_data_lack_are_refused_before_training(folder, tmp_path, monkeypatch):
    config = label_config()
    monkeypatch.setattr(sys.modules["labelling"].Labelling, "metadata_keys", ("chanels", "labels"))
    with pytest.raises(InputError, match=r"Labelling\.metadata_keys: given 'chanels', .*channels"):
        train(config, tmp_path / "run")


def test_folder_of_a_run_is_no_reason_to_import_its_task(folder, tmp_path):
    train(label_config(epochs=1), tmp_path / "run")
    sys.modules.pop("labelling")
    (tmp_path / "labelling.py").write_text("raise SystemExit('imported')\n", encoding="utf-8")
    importlib.invalidate_caches()
    with pytest.raises(InputError, match=r"class Labelling of the module labelling"):
        training.load_run(tmp_path / "run")


def test_task_conforms(folder):
    report = check_task(label_config(), file=Path("data/test.npz"))
    skipped = {result.check for result in report.results if result.status == "not applicable"}
    assert skipped == {"carry_reset", "carry_read", "pieces", "separate_predictions"}


def test_predictions_out_of_order_do_not_conform(folder, monkeypatch):
    config = label_config()
    task = sys.modules["labelling"].Labelling
    predictions = task.predictions

    def unordered(self, split, outputs):
        labels = [answer.values["labels"] for answer in predictions(self, split, outputs)]
        labels.sort(key=len)  # as the buckets have them
        yield from (Prediction("", {"labels": row}) for row in labels)

    monkeypatch.setattr(task, "predictions", unordered)
    *_, check = task_checks(config, file=Path("data/test.npz"))
    with pytest.raises(TaskError, match=r"accuracy of the predictions is .* by 'labels', expected"):
        check()


def test_commands_on_the_page_are_those_of_the_test():
    commands = [shlex.split(line)[1] for line in BLOCKS[2][1].splitlines()]
    assert commands == ["train", "evaluate", "predict", "compare"]
