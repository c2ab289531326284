"""A run from a config to a report: what it does, and what it survives."""

import dataclasses
import json
import os
import re
import shutil
import signal
import sys

import jax
import numpy as np
import optax
import pytest

from rnnjax import training
from rnnjax.data.labelled import load_corpus, make_dataset
from rnnjax.errors import InputError
from rnnjax.tasks import Classification
from rnnjax.training import loop
from rnnjax.training.checkpoint import Checkpoints
from rnnjax.training.folder import RunFolder

from .small import assert_same, damage, lines, parse, saved, snapshot

pytest_plugins = ["training.small"]

run_module = sys.modules["rnnjax.training.run"]
EVERYTHING = {
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
"""What a resumed run could get wrong, all at once."""

OWN = ("run", "digest", "train_seconds", "cpu_seconds", "rows_per_second", "resumed_from")


def run(config, workdir):
    return training.run(config, "small", workdir, "python -m rnnjax.main")


@pytest.fixture
def interrupted(monkeypatch):
    """A function that runs until a signal comes in a step."""

    def until(config, workdir, last, number=signal.SIGINT):
        class Interrupting(loop.Progress):
            def update(self, step, *args, **options):
                super().update(step, *args, **options)
                if step >= last:
                    os.kill(os.getpid(), number)

        with monkeypatch.context() as patch:
            patch.setattr(loop, "Progress", Interrupting)
            with pytest.raises(training.InterruptedRunError, match=f"after step {last} of"):
                run(config, workdir)

    return until


@pytest.fixture(scope="module")
def whole(news, tmp_path_factory):
    """The folder of a run of `EVERYTHING` that nothing disturbed."""
    workdir = tmp_path_factory.mktemp("whole") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rnnjax.data.labelled._COMPILING", 0.0)
        run(parse(news, **EVERYTHING), workdir)
    return workdir


def same_run(config, ours, theirs):
    """Fails unless two runs ended in the same state and said the same of it."""
    assert_same(saved(config, ours), saved(config, theirs))
    assert (ours / "metrics.jsonl").read_bytes() == (theirs / "metrics.jsonl").read_bytes()
    one, other = (json.loads((path / "result.json").read_text()) for path in (ours, theirs))
    unlike = (*OWN, "compilations")
    assert {key: one[key] for key in one if key not in unlike} == {
        key: other[key] for key in other if key not in unlike
    }


def test_a_run_leaves_its_files_and_no_drafts(finished):
    assert {path.name for path in finished.iterdir()} == {
        *("config.json", "environment.json", "tokenizer.json", "metrics.jsonl", "result.json"),
        *("checkpoints", "timing.json", "report.html", ".lock"),
    }


def test_it_takes_as_many_updates_as_epochs_times_batches(finished, news, several_lengths):
    config = parse(news)
    dataset = make_dataset(config, load_corpus(config))
    total = 2 * sum(-(-len(rows) // 16) for rows in dataset.train._buckets)
    state = saved(config, finished)
    (count,) = {
        int(value) for _, value in optax.tree_utils.tree_get_all_with_path(state.opt_state, "count")
    }
    result = json.loads((finished / "result.json").read_text())
    assert (count, int(state.step), result["steps"], result["epochs"]) == (total, total, total, 2.0)
    train = [line for line in lines(finished) if line["split"] == "train"]
    assert [line["step"] for line in train] == [*range(3, total, 3), total]
    steps = Checkpoints(finished / "checkpoints").steps
    assert steps == [(total - 1) // 4 * 4, total]


def test_it_learns(finished):
    train = [line["loss"] for line in lines(finished) if line["split"] == "train"]
    assert train[-1] < 0.85 * train[0]


def test_it_compiles_once_for_each_padded_length_that_it_uses(finished, news, several_lengths):
    config = parse(news)
    dataset = make_dataset(config, load_corpus(config))
    result = json.loads((finished / "result.json").read_text())
    for name, part in {"train": dataset.train, "evaluate": dataset.test}.items():
        steps = range(part.steps_per_epoch)
        used = {part.batch_at(config.seed, step).tokens.shape for step in steps}
        assert result["compilations"][name] == len(used) > 1


def test_calls_of_several_steps_end_where_something_is_due(whole):
    found = [(line["split"], line["step"]) for line in lines(whole)]
    train, validation = [*range(3, 28, 3), 28], [*range(5, 28, 5), 28]
    assert [step for split, step in found if split == "train"] == train
    assert [step for split, step in found if split == "validation"] == validation
    assert Checkpoints(whole / "checkpoints").steps == [24, 28]


def test_metrics_are_of_the_examples_since_the_line_before(finished, news, several_lengths):
    config = parse(news)
    train = make_dataset(config, load_corpus(config)).train
    for line in lines(finished):
        if line["split"] == "train":
            rows = sum(
                len(train.rows_at(3, step))
                for step in range((line["step"] - 1) // 3 * 3, line["step"])
            )
            assert (line["accuracy"] * rows) == pytest.approx(round(line["accuracy"] * rows))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_ends_as_if_nothing_had_been(
    whole, news, tmp_path, several_lengths, interrupted, number
):
    config = parse(news, **EVERYTHING)
    interrupted(config, tmp_path, 5, number)
    assert Checkpoints(tmp_path / "checkpoints").steps == [4, 5]
    assert not (tmp_path / "result.json").exists()
    if number == signal.SIGINT:
        interrupted(config, tmp_path, 20)
    run(config, tmp_path)
    same_run(config, tmp_path, whole)


def test_a_damaged_checkpoint_costs_the_steps_since_the_one_before(
    whole, news, tmp_path, several_lengths, interrupted, capfd
):
    config = parse(news, **EVERYTHING)
    interrupted(config, tmp_path, 8)
    damage(tmp_path / "checkpoints" / "8", "flipped")
    interrupted(config, tmp_path, 10)
    said = capfd.readouterr().err
    assert "the checkpoint of step 8 is damaged" in said
    assert "going on from step 4" in said
    assert Checkpoints(tmp_path / "checkpoints").steps == [8, 10]
    run(config, tmp_path)
    same_run(config, tmp_path, whole)


def test_where_every_checkpoint_is_damaged_nothing_is_trained(
    news, tmp_path, several_lengths, interrupted
):
    config = parse(news, **EVERYTHING)
    interrupted(config, tmp_path, 8)
    for step in ("4", "8"):
        damage(tmp_path / "checkpoints" / step, "cut")
    before = snapshot(tmp_path)
    with pytest.raises(InputError, match="every checkpoint is damaged"):
        run(config, tmp_path)
    assert snapshot(tmp_path) == before


def test_a_checkpoint_that_cannot_be_saved_stops_the_run_and_the_one_before_goes_on(
    whole, news, tmp_path, several_lengths, monkeypatch
):
    config = parse(news, **EVERYTHING)
    manager = sys.modules["rnnjax.training.checkpoint"].ocp.CheckpointManager
    save = manager.save

    def full(self, step, *args, **options):
        if step == 8:
            raise OSError(28, "No space left on device")
        return save(self, step, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(manager, "save", full)
        with pytest.raises(InputError, match=r"step 8 could not be saved .*No space left"):
            run(config, tmp_path)
    assert Checkpoints(tmp_path / "checkpoints").steps == [4]
    run(config, tmp_path)
    same_run(config, tmp_path, whole)


def test_a_run_that_ended_before_its_result_was_written_only_judges(
    whole, news, tmp_path, several_lengths
):
    config = parse(news, **EVERYTHING)
    shutil.copytree(whole, tmp_path / "run")
    (tmp_path / "run" / "result.json").unlink()
    run(config, tmp_path / "run")
    same_run(config, tmp_path / "run", whole)


def test_a_finished_run_repeated_does_nothing_and_says_so(finished, news, capsys):
    before = snapshot(finished)
    result = run(parse(news), finished)
    told = json.loads((finished / "result.json").read_text())
    assert told.pop("digest")
    assert result == told
    assert f"{finished} holds a finished run" in capsys.readouterr().err
    assert snapshot(finished) == before


def test_a_run_is_kept_out_of_a_folder_in_use(news, tmp_path):
    config = parse(news)
    with RunFolder(tmp_path).claim(config), pytest.raises(InputError, match="another process"):
        run(config, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_a_run_of_another_config_is_refused_and_left_alone(finished, news):
    before = snapshot(finished)
    with pytest.raises(InputError, match=r"config.learning_rate: 0.5, 0.01"):
        run(parse(news, learning_rate=0.5), finished)
    assert snapshot(finished) == before


def test_data_that_has_changed_since_is_refused(news, tmp_path, several_lengths, interrupted):
    folder = shutil.copytree(news, tmp_path / "news")
    config, workdir = parse(folder, **EVERYTHING), tmp_path / "run"
    interrupted(config, workdir, 4)
    test = (folder / "test.csv").read_text()
    (folder / "test.csv").write_text(test.replace("goal", "gaol"))
    before = snapshot(workdir)
    with pytest.raises(InputError, match="the data is now") as caught:
        run(config, workdir)
    assert "bring back the data" in str(caught.value)
    assert snapshot(workdir) == before


def test_early_stopping_ends_the_run_and_keeps_the_best(news, tmp_path, several_lengths, capsys):
    config = parse(
        news,
        data__validation=0.2,
        data__buckets=1,
        epochs=20,
        evaluate_every=5,
        learning_rate=0.5,
        early_stopping__patience=2,
    )
    result = run(config, tmp_path)
    checks = [line for line in lines(tmp_path) if line["split"] == "validation"]
    losses = [line["loss"] for line in checks]
    best = int(np.argmin(losses))
    assert result["stopped_early"]
    assert re.search(r"trained \d+ steps in [\d.]+ s, stopped early;", capsys.readouterr().err)
    assert len(losses) == best + 3
    assert result["steps"] == checks[-1]["step"] < 20 * 12
    assert result["validation"]["loss"] == losses[best]
    state = saved(config, tmp_path)
    assert state.best is not None
    assert float(state.best.loss) == np.float32(losses[best])
    assert_same(training.TrainedClassifier.load(tmp_path).params, state.best.params)
    assert not np.array_equal(state.best.params["score"]["kernel"], state.params["score"]["kernel"])


def poison(monkeypatch, first):
    """Makes the loss, and then the parameters, of a step and all after it no number."""
    make = run_module.make_train_step

    def make_poisoned(*args):
        step = make(*args)

        class Poisoned:
            def __getattr__(self, name):
                return getattr(step, name)

            def __call__(self, state, stack):
                number = int(state.step) + 1
                state = step(state, stack)
                if number < first:
                    return state
                params = jax.tree.map(lambda leaf: leaf * np.nan, state.params)
                sums = {**state.sums, "loss": state.sums["loss"] * np.nan}
                return state.replace(params=params, sums=sums)

        return Poisoned()

    monkeypatch.setattr(run_module, "make_train_step", make_poisoned)


def test_a_run_that_diverges_says_so_and_keeps_a_checkpoint_of_before(
    news, tmp_path, several_lengths, monkeypatch
):
    poison(monkeypatch, 6)
    config = parse(news, log_every=100, checkpoint__every=2)
    with pytest.raises(InputError, match=r"training has diverged.*config.learning_rate"):
        run(config, tmp_path)
    state = saved(config, tmp_path)
    assert int(state.step) == 4
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params))
    assert not (tmp_path / "result.json").exists()


@pytest.mark.parametrize(
    "changes", [{}, {"log_every": 10**6, "data__validation": 0.2, "early_stopping__patience": 1}]
)
def test_a_learning_rate_beyond_all_bounds_is_an_error(news, tmp_path, several_lengths, changes):
    config = parse(news, learning_rate=1e38, checkpoint__every=0, **changes)
    with pytest.raises(InputError, match="the training loss is nan at step"):
        run(config, tmp_path)
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.parametrize(
    "error",
    [
        jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Failed to allocate 9 bytes."),  # a GPU
        jax.errors.JaxRuntimeError("INTERNAL: Out of memory allocating 9 bytes."),  # a CPU
        MemoryError(),
    ],
    ids=["of a GPU", "of a CPU", "of Python"],
)
def test_a_device_without_memory_is_an_error_that_names_what_to_lower(
    news, tmp_path, several_lengths, monkeypatch, error
):
    def exhausted(*_):
        raise error

    monkeypatch.setattr(run_module, "train", exhausted)
    with pytest.raises(InputError, match=r"out of memory.*config.batch_size \(now 16\)"):
        run(parse(news), tmp_path)


def test_a_run_on_the_fallback_is_marked_in_every_file(
    news, tmp_path, several_lengths, monkeypatch, capsys
):
    corpus = dataclasses.replace(load_corpus(parse(news)), name="docstrings", fallback="docstrings")
    monkeypatch.setattr(Classification, "load", staticmethod(lambda config: corpus))
    run(parse(news), tmp_path)
    for name in ("config", "environment", "result"):
        said = json.loads((tmp_path / f"{name}.json").read_text())["data"]
        assert said == "docstrings (fallback)" or said["fallback"] == "docstrings"
    assert {line["data"] for line in lines(tmp_path)} == {"docstrings (fallback)"}
    assert "docstrings" in (tmp_path / "report.html").read_text()
    capsys.readouterr()
    assert training.TrainedClassifier.load(tmp_path).fallback == "docstrings"
    assert "WARNING: this network was trained on the docstrings" in capsys.readouterr().err


def test_a_run_on_what_was_asked_for_carries_no_mark(finished):
    assert "data" not in json.loads((finished / "config.json").read_text())
    assert not any("data" in line for line in lines(finished))


def test_characters_in_one_hot_vectors_of_half_precision_are_read(news, tmp_path):
    config = parse(
        news,
        dtype="bfloat16",
        epochs=1,
        data__take=32,
        data__max_tokens=12,
        data__vocabulary__unit="character",
        model__embedding__features=0,
    )
    result = run(config, tmp_path)
    state = saved(config, tmp_path)
    assert result["steps"] == 2
    assert {leaf.dtype.name for leaf in jax.tree.leaves(state.params)} == {"float32"}
    assert result["buckets"] == [12]
    assert training.TrainedClassifier.load(tmp_path).predict(["goal", ""]).shape == (2, 4)


def test_an_unknown_cell_is_refused_before_the_folder_is_made(news, tmp_path):
    with pytest.raises(InputError, match=r"config.model.cell: given 'LSTM'.*LSTMCell"):
        run(parse(news, model__cell="LSTM"), tmp_path / "run")
    assert not (tmp_path / "run").exists()
