"""Time series: training on small files, scores, forecasts, predictions and the conformance kit."""

import tracemalloc
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from training.small_runs import make_config, train

from rnnjax.errors import InputError
from rnnjax.tasks.time_series import generated
from rnnjax.tasks.time_series.data import cut_windows
from rnnjax.tasks.time_series.metrics import number_losses
from rnnjax.tasks.time_series.task import TimeSeriesTask
from rnnjax.testing.tasks import check_task
from rnnjax.training import load_run

SMALL = {
    "task": "time_series",
    "epochs": 15,
    "batch_size": 8,
    "learning_rate": 0.03,
    "data": {"buckets": 2},
    "model": {"cell": "GRUCell", "features": 8, "embedding": {}},
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Files of series of two channels, with labels of series or of steps, and missing values."""
    folder = tmp_path_factory.mktemp("series")
    generator = np.random.default_rng(0)
    for name, rows in (("train", 48), ("test", 19)):
        values = generator.normal(5, 2, (rows, 6, 2))
        lengths = generator.integers(3, 7, rows)
        sums = np.array([row[:n, 0].mean() for row, n in zip(values, lengths, strict=True)])
        arrays: dict[str, Any] = {"values": values, "lengths": lengths}
        labels = np.where(sums > 5, "high", "low")
        np.savez(folder / f"{name}.npz", **arrays, label=labels)
        np.savez(folder / f"{name}-number.npz", **arrays, label=1000 + 50 * sums)
        above = (values[..., 0] > 5).astype(int)
        np.savez(folder / f"{name}-steps.npz", **arrays, label=above)
        missing = np.where(generator.random(values.shape) < 0.1, np.nan, values)
        np.savez(folder / f"{name}-missing.npz", values=missing, lengths=lengths, label=above)
    steps = np.arange(400)
    sine = np.stack([10 + np.sin(steps / 3), 100 * np.cos(steps / 3)], axis=1)
    np.save(folder / "sine.npy", sine.astype(np.float32))
    return folder


def config_of(files: Path, kind: str = "", **options: Any):
    paths = {"data__file": str(files / f"train{kind}.npz")}
    paths |= {"data__test_file": str(files / f"test{kind}.npz")}
    return make_config(SMALL, **paths, **options)


def forecast_config(files: Path, **options: Any):
    values = {"time_series__output": "forecast", "data__file": str(files / "sine.npy")}
    values |= {"data__sequence_length": 20, "time_series__horizon": 3, "epochs": 20}
    return make_config(SMALL, **{**values, **options})


def test_classes_are_learned(files, tmp_path):
    config = config_of(files, model__bidirectional=True, data__validation=0.2, epochs=25)
    result = train(config, tmp_path / "run")
    assert result["test"]["accuracy"] > 0.85
    assert result["data"]["classes"] == ["high", "low"]
    run = load_run(tmp_path / "run")
    path = files / "test.npz"
    assert run.evaluate(path) == pytest.approx(result["test"])
    with np.load(path) as file:
        arrays = {name: file[name] for name in ("values", "lengths")}
        labels = file["label"]
    np.savez(tmp_path / "unlabelled.npz", **arrays)
    answers = [row["label"] for row in run.predict(tmp_path / "unlabelled.npz")]
    assert np.mean(np.equal(answers, labels)) == pytest.approx(result["test"]["accuracy"])
    assert np.array(result["confusion"]).sum() == 19
    assert "Confusion matrix" in run.report()


def test_numbers_are_predicted_in_their_units(files, tmp_path):
    config = config_of(files, "-number", time_series__output="number", epochs=25)
    result = train(config, tmp_path / "run")
    test = result["test"]
    assert test["r2"] > 0.7
    assert "accuracy" not in test
    run = load_run(tmp_path / "run")
    values = np.array([row["value"] for row in run.predict(files / "test-number.npz")])
    with np.load(files / "test-number.npz") as file:
        errors = values - file["label"]
    assert np.abs(errors).mean() == pytest.approx(test["mae"], rel=1e-4)
    assert np.sqrt((errors**2).mean()) == pytest.approx(test["rmse"], rel=1e-4)


@pytest.mark.parametrize("missing", ["mask", "indicator"])
def test_steps_are_labelled_where_values_are_missing(files, tmp_path, missing):
    config = config_of(
        files, "-missing", time_series__output="step_class", time_series__missing=missing
    )
    result = train(config, tmp_path / "run")
    assert result["test"]["accuracy"] > 0.85
    answers = load_run(tmp_path / "run").predict(files / "test-missing.npz")
    with np.load(files / "test-missing.npz") as file:
        assert [len(row["label"]) for row in answers] == file["lengths"].tolist()


def test_forecast_of_a_sine_is_ahead_of_its_latest_value(files, tmp_path):
    result = train(forecast_config(files, data__validation=0.1), tmp_path / "run")
    test = result["test"]
    assert test["mae"] < 0.5 * test["naive_mae"]
    assert [row["step"] for row in result["by_step"]] == [1, 2, 3]
    run = load_run(tmp_path / "run")
    (answer,) = run.predict(files / "sine.npy")
    steps = np.arange(400, 403)
    expected = np.stack([10 + np.sin(steps / 3), 100 * np.cos(steps / 3)], axis=1)
    assert np.abs((np.array(answer["value"]) - expected) / [1, 100]).max() < 0.5
    assert "Values ahead" in run.report()


def test_quantiles_are_predicted(files, tmp_path):
    options = {"time_series__loss": "quantile", "time_series__horizon": 1, "epochs": 3}
    result = train(forecast_config(files, **options), tmp_path / "run")
    assert result["test"]["pinball"] == result["test"]["loss"]
    (answer,) = load_run(tmp_path / "run").predict(files / "sine.npy")
    assert list(answer["quantiles"]) == ["0.1", "0.5", "0.9"]
    assert answer["quantiles"]["0.5"] == answer["value"]


def test_pinball_loss_weighs_errors_by_their_sign():
    targets = jnp.array([1.0, -1.0])
    losses = number_losses(jnp.zeros((2, 2)), targets, "quantile", (0.1, 0.5))
    np.testing.assert_allclose(losses, [(0.1 + 0.5) / 2, (0.9 + 0.5) / 2], rtol=1e-6)


def test_windows_count_each_step_once():
    bounds = np.array([[0, 0, 23], [23, 30, 50], [50, 50, 52]])
    windows = cut_windows(bounds, length=8, stride=4, horizon=3)
    counted = np.concatenate([np.arange(first, stop) for _, stop, first, _ in windows])
    assert counted.tolist() == [*range(20), *range(30, 47)]
    for start, stop, first, _ in windows[1:]:
        assert stop - start <= 8
        assert start in (0, 23) or first - start >= 4


def test_forecast_batches_hold_the_values_after_each_step(files):
    config = forecast_config(files, data__shuffle=False)
    dataset = TimeSeriesTask.make_dataset(config, TimeSeriesTask.load_corpus(config))
    assert isinstance(dataset.train.values, np.memmap)
    sine = np.load(files / "sine.npy")
    assert dataset.encoder.mean == pytest.approx(sine[:360].mean(axis=0), rel=1e-5)
    batch = dataset.test.batch_at(0, 0)
    start, stop, first, _ = dataset.test.windows[0]
    assert first == 359
    step = first - start
    expected = (sine[first + 1 : first + 4] - dataset.encoder.mean) / dataset.encoder.scale
    np.testing.assert_allclose(batch.targets[0, step], expected, rtol=1e-4, atol=1e-5)
    assert batch.weights[0].sum() == stop - first


@pytest.mark.parametrize("kind", ["class", "step_class", "forecast"])
def test_task_conforms(files, kind):
    if kind == "forecast":
        config = forecast_config(files, data__take=5, batch_size=2)
        report = check_task(config, file=files / "sine.npy")
    else:
        suffix = "-missing" if kind == "step_class" else ""
        options = {"time_series__output": kind, "time_series__missing": "indicator"}
        config = config_of(files, suffix, **options, data__take=20)
        report = check_task(config, file=files / f"test{suffix}.npz")
        skipped = {row.check for row in report.results if row.status == "not applicable"}
        assert "accuracy_of_predictions" not in skipped
    assert not [row for row in report.results if row.status == "failed"]


def test_series_larger_than_memory_are_read_in_parts(tmp_path, monkeypatch):
    monkeypatch.setattr("rnnjax.input_files.MAX_BYTES", 1_000)
    steps = np.arange(1_000_000)
    np.save(tmp_path / "long.npy", np.sin(steps / 3).astype(np.float32))
    config = make_config(
        SMALL,
        time_series__output="forecast",
        data__file=str(tmp_path / "long.npy"),
        data__sequence_length=2_000,
    )
    tracemalloc.start()
    dataset = TimeSeriesTask.make_dataset(config, TimeSeriesTask.load_corpus(config))
    batch = dataset.train.batch_at(0, 3)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert batch.weights.sum() > 15_000
    assert peak < 3_000_000
    assert dataset.encoder.scale == pytest.approx((np.sqrt(0.5),), rel=1e-3)


def test_generated_series_have_a_best_prediction():
    series = generated.generate()
    assert 0.8 < series.best_accuracy < 1
    assert series.best_rmse == pytest.approx(1, abs=0.02)  # the noise is standard normal
    assert len(series.splits["train"]) == 900


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"time_series__output": "number"}, r"time_series\.output is 'number' and data\.file is"),
        (
            {"time_series__output": "forecast", "model__bidirectional": True},
            r"model\.bidirectional is True",
        ),
        ({"time_series__horizon": 2}, r"time_series\.horizon is 2"),
        ({"time_series__loss": "absolute"}, r"classes have the cross-entropy"),
        (
            {
                "time_series__output": "forecast",
                "time_series__loss": "quantile",
                "time_series__quantiles": "0.9,0.5",
            },
            r"time_series\.quantiles is '0\.9,0\.5'",
        ),
        ({"data__text": "a"}, r"data\.text"),
    ],
)
def test_config_is_checked(values, message):
    with pytest.raises(InputError, match=message):
        make_config(SMALL, **values)
