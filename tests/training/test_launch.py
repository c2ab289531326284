"""A run from a config to a report: its files, and interruptions, failures and divergence."""

import re
import shutil
import signal
import sys

import jax
import numpy as np
import optax
import pytest

from rnnjax import training
from rnnjax.errors import InputError
from rnnjax.training import launch
from rnnjax.training.checkpoint import Checkpoints
from rnnjax.training.run_folder import RunFolder

from .small_runs import (
    assert_trees_equal,
    damage_checkpoint,
    free_compilation,
    make_dataset_and_task,
    news_config,
    read_files,
    read_json,
    read_metrics,
    restore_state,
    train,
    train_until_signal,
)

ALL_FEATURES = {
    "checkpoint__every": 4,
    "steps_per_call": 3,
    "schedule": "cosine",
    "warmup_steps": 4,
    "evaluate_every": 5,
    "data__validation": 0.1,
    "data__buckets": 2,
    "model__cell": "SimpleCell",
    "model__dropout": 0.3,
    "optimizer__clip_norm": 1.0,
    "averaging__decay": 0.9,
    "early_stopping__patience": 50,
}
"""Everything that a resumed run could get wrong."""

ignores_pending_reads = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)
"""tensorstore reports the reads of other arrays that are pending when one array is damaged."""

PROCESS_KEYS = {
    *("run", "digest", "train_seconds", "cpu_seconds", "rows_per_second", "resumed_from"),
    "compilations",
}
"""Keys of a result whose values depend on the process."""


@pytest.fixture(scope="module")
def uninterrupted(news, tmp_path_factory):
    """The folder of an uninterrupted run of `ALL_FEATURES`."""
    workdir = tmp_path_factory.mktemp("uninterrupted") / "run"
    with free_compilation():
        train(news_config(news, **ALL_FEATURES), workdir)
    return workdir


def assert_same_run(config, workdir, expected):
    """Fails unless two runs ended with the same state, metrics and result."""
    assert_trees_equal(restore_state(config, workdir), restore_state(config, expected))
    assert (workdir / "metrics.jsonl").read_bytes() == (expected / "metrics.jsonl").read_bytes()
    results = [read_json(folder / "result.json") for folder in (workdir, expected)]
    values = [
        {key: value for key, value in result.items() if key not in PROCESS_KEYS}
        for result in results
    ]
    assert values[0] == values[1]


def test_run_writes_its_files_and_no_drafts(finished):
    assert {path.name for path in finished.iterdir()} == {
        *("config.json", "environment.json", "tokenizer.json", "metrics.jsonl", "result.json"),
        *("checkpoints", "timing.json", "report.html", ".lock"),
    }


def test_number_of_updates_is_epochs_times_batches(finished, news, several_lengths):
    config = news_config(news)
    dataset, _ = make_dataset_and_task(config)
    total = 2 * sum(-(-len(rows) // 16) for rows in dataset.train._buckets)
    state = restore_state(config, finished)
    (count,) = {
        int(value) for _, value in optax.tree_utils.tree_get_all_with_path(state.opt_state, "count")
    }
    result = read_json(finished / "result.json")
    assert (count, int(state.step), result["steps"], result["epochs"]) == (total, total, total, 2.0)
    steps = [line["step"] for line in read_metrics(finished) if line["split"] == "train"]
    assert steps == [*range(3, total, 3), total]
    assert Checkpoints(finished / "checkpoints").steps == [20, total]


def test_training_loss_falls(finished):
    losses = [line["loss"] for line in read_metrics(finished) if line["split"] == "train"]
    assert losses[-1] < 0.85 * losses[0]


def test_each_padded_length_is_compiled_once(finished, news, several_lengths):
    config = news_config(news)
    dataset, _ = make_dataset_and_task(config)
    result = read_json(finished / "result.json")
    for name, split in {"train": dataset.train, "evaluate": dataset.test}.items():
        steps = range(split.steps_per_epoch)
        shapes = {split.batch_at(config.seed, step).inputs.shape for step in steps}
        assert result["compilations"][name] == len(shapes) > 1


def test_events_are_at_their_intervals_with_several_steps_a_call(uninterrupted):
    events = [(line["split"], line["step"]) for line in read_metrics(uninterrupted)]
    assert [step for split, step in events if split == "train"] == [*range(3, 28, 3), 28]
    assert [step for split, step in events if split == "validation"] == [*range(5, 28, 5), 28]
    assert Checkpoints(uninterrupted / "checkpoints").steps == [24, 28]


def test_metrics_cover_the_steps_since_the_previous_line(finished, news, several_lengths):
    split = make_dataset_and_task(news_config(news))[0].train
    for line in read_metrics(finished):
        if line["split"] == "train":
            steps = range((line["step"] - 1) // 3 * 3, line["step"])
            rows = sum(len(split.indices_at(3, step)) for step in steps)
            assert line["accuracy"] * rows == pytest.approx(round(line["accuracy"] * rows))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_run_equals_uninterrupted_run(
    uninterrupted, news, tmp_path, several_lengths, number
):
    config = news_config(news, **ALL_FEATURES)
    train_until_signal(config, tmp_path, 5, number)
    assert Checkpoints(tmp_path / "checkpoints").steps == [4, 5]
    assert not (tmp_path / "result.json").exists()
    if number == signal.SIGINT:
        train_until_signal(config, tmp_path, 20)
    train(config, tmp_path)
    assert_same_run(config, tmp_path, uninterrupted)


@ignores_pending_reads
def test_damaged_checkpoint_is_replaced_by_the_previous_one(
    uninterrupted, news, tmp_path, several_lengths, capfd
):
    config = news_config(news, **ALL_FEATURES)
    train_until_signal(config, tmp_path, 8)
    damage_checkpoint(tmp_path / "checkpoints" / "8", "flipped")
    train_until_signal(config, tmp_path, 10)
    message = capfd.readouterr().err
    assert "the checkpoint of step 8 is damaged" in message
    assert "going on from step 4" in message
    assert Checkpoints(tmp_path / "checkpoints").steps == [8, 10]
    train(config, tmp_path)
    assert_same_run(config, tmp_path, uninterrupted)


@ignores_pending_reads
def test_run_with_only_damaged_checkpoints_is_refused(news, tmp_path, several_lengths):
    config = news_config(news, **ALL_FEATURES)
    train_until_signal(config, tmp_path, 8)
    for step in ("4", "8"):
        damage_checkpoint(tmp_path / "checkpoints" / step, "cut")
    files = read_files(tmp_path)
    with pytest.raises(InputError, match="every checkpoint is damaged"):
        train(config, tmp_path)
    assert read_files(tmp_path) == files


def test_failed_checkpoint_stops_the_run_which_resumes_from_the_previous_one(
    uninterrupted, news, tmp_path, several_lengths, monkeypatch
):
    config = news_config(news, **ALL_FEATURES)
    manager = sys.modules["rnnjax.training.checkpoint"].ocp.CheckpointManager
    save = manager.save

    def save_on_full_disk(self, step, *args, **options):
        if step == 8:
            raise OSError(28, "No space left on device")
        return save(self, step, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(manager, "save", save_on_full_disk)
        with pytest.raises(InputError, match=r"step 8 could not be saved .*No space left"):
            train(config, tmp_path)
    assert Checkpoints(tmp_path / "checkpoints").steps == [4]
    train(config, tmp_path)
    assert_same_run(config, tmp_path, uninterrupted)


def test_trained_run_without_result_is_only_evaluated(
    uninterrupted, news, tmp_path, several_lengths
):
    config, workdir = news_config(news, **ALL_FEATURES), tmp_path / "run"
    shutil.copytree(uninterrupted, workdir)
    (workdir / "result.json").unlink()
    train(config, workdir)
    assert_same_run(config, workdir, uninterrupted)


def test_repeated_finished_run_changes_nothing(finished, news, capsys):
    files = read_files(finished)
    result = train(news_config(news), finished)
    recorded = read_json(finished / "result.json")
    assert recorded.pop("digest")
    assert result == recorded
    assert f"{finished} holds a finished run" in capsys.readouterr().err
    assert read_files(finished) == files


def test_missing_report_of_a_finished_run_is_written(news, tmp_path):
    config = news_config(news)
    train(config, tmp_path)
    report = (tmp_path / "report.html").read_text()
    (tmp_path / "report.html").unlink()
    train(config, tmp_path)
    assert (tmp_path / "report.html").read_text() == report


@pytest.mark.parametrize("replicates", [1, 2])
def test_run_that_is_interrupted_before_its_first_metrics_has_a_report(replicates, news, tmp_path):
    config = news_config(news, log_every=10, replicates=replicates)
    interrupted, undisturbed = (RunFolder(tmp_path / name) for name in ("one", "other"))
    train_until_signal(config, interrupted.path, step=2)
    for _, folder in interrupted.replicates(config):
        assert folder.metrics.read_bytes() == b""
        assert "was interrupted" in folder.report.read_text()
    train(config, interrupted.path)
    train(config, undisturbed.path)
    pairs = zip(interrupted.replicates(config), undisturbed.replicates(config), strict=True)
    for (_, folder), (_, expected) in pairs:
        assert read_metrics(folder.path) == read_metrics(expected.path)


def test_locked_folder_is_refused(news, tmp_path):
    config = news_config(news)
    with RunFolder(tmp_path).lock(config), pytest.raises(InputError, match="another process"):
        train(config, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_folder_of_another_config_is_refused(finished, news):
    files = read_files(finished)
    with pytest.raises(InputError, match=r"config.learning_rate: 0.5, 0.01"):
        train(news_config(news, learning_rate=0.5), finished)
    assert read_files(finished) == files


def test_early_stopping_keeps_the_best_parameters(news, tmp_path, several_lengths, capsys):
    config = news_config(
        news,
        data__validation=0.2,
        data__buckets=1,
        epochs=20,
        evaluate_every=5,
        learning_rate=0.5,
        early_stopping__patience=2,
    )
    result = train(config, tmp_path)
    validations = [line for line in read_metrics(tmp_path) if line["split"] == "validation"]
    losses = [line["loss"] for line in validations]
    best = int(np.argmin(losses))
    assert result["stopped_early"]
    assert re.search(r"trained \d+ steps in [\d.]+ s, stopped early;", capsys.readouterr().err)
    assert len(losses) == best + 3
    assert result["steps"] == validations[-1]["step"] < 20 * 12
    assert result["validation"]["loss"] == losses[best]
    state = restore_state(config, tmp_path)
    assert state.best is not None
    assert float(state.best.loss) == np.float32(losses[best])
    assert_trees_equal(training.load_run(tmp_path).params, state.best.params)
    assert not np.array_equal(state.best.params["score"]["kernel"], state.params["score"]["kernel"])


class DivergingStep:
    """A training step that returns NaN from some step on: first the loss, then the parameters."""

    def __init__(self, step, first_step):
        self._step, self._first_step = step, first_step

    def __getattr__(self, name):
        return getattr(self._step, name)

    def __call__(self, state, group):
        number = int(state.step) + 1
        state = self._step(state, group)
        if number < self._first_step:
            return state
        params = jax.tree.map(lambda leaf: leaf * np.nan, state.params)
        sums = {**state.sums, "loss": state.sums["loss"] * np.nan}
        return state.replace(params=params, sums=sums)


def test_diverged_run_keeps_a_finite_checkpoint(news, tmp_path, several_lengths, monkeypatch):
    make_train_step = launch.make_train_step
    monkeypatch.setattr(
        launch, "make_train_step", lambda *args: DivergingStep(make_train_step(*args), 6)
    )
    config = news_config(news, log_every=100, checkpoint__every=2)
    with pytest.raises(InputError, match=r"training has diverged.*config.learning_rate"):
        train(config, tmp_path)
    state = restore_state(config, tmp_path)
    assert int(state.step) == 4
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params))
    assert not (tmp_path / "result.json").exists()


@pytest.mark.parametrize(
    "changes", [{}, {"log_every": 10**6, "data__validation": 0.2, "early_stopping__patience": 1}]
)
def test_non_finite_training_loss_is_an_error(news, tmp_path, several_lengths, changes):
    config = news_config(news, learning_rate=1e38, checkpoint__every=0, **changes)
    with pytest.raises(InputError, match="the training loss is nan at step"):
        train(config, tmp_path)
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.parametrize(
    "error",
    [
        jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Failed to allocate 9 bytes."),
        jax.errors.JaxRuntimeError("INTERNAL: Out of memory allocating 9 bytes."),
        MemoryError(),
    ],
    ids=["GPU", "CPU", "Python"],
)
def test_out_of_memory_error_names_the_keys_to_lower(
    news, tmp_path, several_lengths, monkeypatch, error
):
    def exhausted(*_):
        raise error

    monkeypatch.setattr(launch, "run_loop", exhausted)
    with pytest.raises(InputError, match=r"out of memory.*config.batch_size \(now 16\)"):
        train(news_config(news), tmp_path)


def test_characters_are_read_as_one_hot_vectors_in_half_precision(news, tmp_path):
    config = news_config(
        news,
        dtype="bfloat16",
        epochs=1,
        data__take=32,
        data__max_tokens=12,
        data__vocabulary__unit="character",
        model__embedding__features=0,
    )
    result = train(config, tmp_path)
    state = restore_state(config, tmp_path)
    assert result["steps"] == 2
    assert {leaf.dtype.name for leaf in jax.tree.leaves(state.params)} == {"float32"}
    assert result["buckets"] == [12]
    assert training.load_run(tmp_path).predict(["goal", ""]).shape == (2, 4)
