"""How a run ends, and what it refuses or remarks before it begins."""

import itertools
import json
import shlex
import shutil
from pathlib import Path

import pytest
from reporting.runs import reseal

from rnnjax import training
from rnnjax.config import Config
from rnnjax.errors import InputError
from rnnjax.tasks import TASKS

from .small import assert_same, lines, parse, saved, write_csv

pytest_plugins = ["training.small"]


def run(config, workdir):
    return training.train(config, "small", workdir)


def test_what_is_judged_is_what_was_trained_where_nothing_was_validated_on_the_way(news, tmp_path):
    changes = {"evaluate_every": 10**6, "epochs": 2, "learning_rate": 0.02}
    stopping = {**changes, "early_stopping__patience": 2, "data__validation": 0.2}
    result = run(parse(news, **stopping), tmp_path / "stopping")
    # The one validation, that of the last step, is of the very network that is judged.
    (validated,) = [line for line in lines(tmp_path / "stopping") if line["split"] == "validation"]
    assert validated["step"] == result["steps"]
    assert validated["loss"] == pytest.approx(result["validation"]["loss"], abs=1e-6)


def test_a_warm_up_that_never_ends_is_refused_and_nothing_is_left(news, tmp_path):
    with pytest.raises(InputError, match=r"config\.warmup_steps: given 100000, and the training"):
        run(parse(news, warmup_steps=100_000), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_other_test_rows_train_the_same_network(news, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(news / "train.csv", other)
    write_csv(other / "test.csv", 40, seed=9)
    changes = {"evaluate_every": 3, "early_stopping__patience": 2, "data__validation": 0.2}
    ours, theirs = parse(news, **changes), parse(other, **changes)
    one, two = run(ours, tmp_path / "one"), run(theirs, tmp_path / "two")
    assert one["test"]["rows"] != two["test"]["rows"]
    assert_same(saved(ours, tmp_path / "one"), saved(theirs, tmp_path / "two"))
    (judged,) = [line for line in lines(tmp_path / "one") if line["split"] == "test"]
    assert judged["step"] == one["steps"]


def test_a_mistake_is_remarked_until_it_is_acknowledged_and_the_run_goes_on(news, tmp_path, capsys):
    mistaken = {"model__mask": False, "data__shuffle": False, "epochs": 1}
    reason = {"acknowledged__padding_read": "to see it", "acknowledged__not_shuffled": "the same"}
    run(parse(news, **mistaken), tmp_path)
    said = capsys.readouterr().err
    assert said.index("WARNING: padding_read: model.mask") < said.index("WARNING: not_shuffled:")
    assert "rnnjax.lint --rules" in said
    (tmp_path / "result.json").unlink()
    run(parse(news, **mistaken, **reason), tmp_path)
    assert "going on from step" in (said := capsys.readouterr().err)
    assert "WARNING" not in said
    assert "lint" not in said
    # It is the run that it was.
    config = json.loads((tmp_path / "config.json").read_text())["config"]
    assert set(config["acknowledged"].values()) == {""}


def test_a_finished_run_without_its_report_gets_one(news, tmp_path):
    config = parse(news)
    run(config, tmp_path)
    report = (tmp_path / "report.html").read_text()
    (tmp_path / "report.html").unlink()
    run(config, tmp_path)
    assert (tmp_path / "report.html").read_text() == report


def test_the_manifest_matches_the_steps_of_the_checkpoints(news, tmp_path, capsys):
    config = parse(news, checkpoint__every=4, replicates=2, epochs=1)
    run(config, tmp_path)
    folders = [tmp_path, tmp_path / "seed-3", tmp_path / "seed-4"]

    def recorded():
        texts = [(folder / "environment.json").read_text() for folder in folders]
        return [json.loads(text) for text in texts]

    def mark(name):
        for folder, values in zip(folders, recorded(), strict=True):
            (folder / "environment.json").write_text(json.dumps({**values, "commit": name}))
            (folder / "result.json").unlink()
            reseal(folder)

    mark("before")
    run(config, tmp_path)
    for values in recorded():
        assert values["commit"] == "before"
        assert [each["step"] for each in values["resumed"]] == [15]
    mark("before")
    shutil.rmtree(tmp_path / "checkpoints")
    # A training that is begun anew may stop sooner than the one whose checkpoints were left.
    for later in ("30", "45"):
        left = tmp_path / "seed-3" / "checkpoints"
        shutil.copytree(left / "15", left / later)
    run(config, tmp_path)
    for values in recorded():
        assert values["commit"] != "before"
        assert "resumed" not in values
    # What the replicates have kept of the training before is not taken for that of this one.
    capsys.readouterr()
    assert training.TrainedClassifier.load(tmp_path / "seed-3").step == 15
    assert "is damaged" not in capsys.readouterr().err


def test_a_cell_that_cannot_read_the_text_is_refused_before_anything_is_written(news, tmp_path):
    config = parse(news, model__cell="ConvLSTMCell")
    with pytest.raises(InputError, match=r"shape \(16, 6\); expected 2 axes of an image"):
        training.train(config, "small", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_commands_that_use_a_network_are_those_of_its_task_and_can_be_pasted():
    workdir = Path("it's mine [1]")
    config = Config()
    found = {
        name: training.usage_commands(config.model_copy(update={"task": name}), workdir)
        for name in TASKS
    }
    modules = {name: [shlex.split(each)[2] for each in found[name]] for name in found}
    assert modules == {
        "classification": ["rnnjax.evaluate", "rnnjax.predict"],
        "language_modeling": ["rnnjax.evaluate", "rnnjax.generate"],
        "memory": [],
        "translation": ["rnnjax.translate"],
    }
    for command in itertools.chain(*found.values()):
        assert shlex.split(command)[3] == f"--workdir={workdir}"


@pytest.mark.parametrize(
    ("cell", "trusts"),
    [("GRUCell", False), ("flax.linen:GRUCell", False), ("my_cell:MyCell(gates=2)", True)],
)
def test_the_commands_that_use_a_network_trust_a_cell_from_outside(news, cell, trusts):
    config = parse(news, model__cell=cell)
    commands = training.usage_commands(config, Path("run"))
    assert commands
    assert all((" --trust" in each) == trusts for each in commands)
