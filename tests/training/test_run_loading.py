"""Loading of trained runs, and the commands that use them."""

import itertools
import shlex
from pathlib import Path

import pytest

from rnnjax import training
from rnnjax.config import Config
from rnnjax.tasks import TASKS
from rnnjax.training.run_loading import TRAINED_RUNS

from .small_runs import news_config


def test_every_task_has_a_class_of_trained_runs():
    assert TRAINED_RUNS.keys() == TASKS.keys()
    for task, run_class in TRAINED_RUNS.items():
        assert run_class.task_name in (task, "")


def test_run_is_loaded_as_the_class_of_its_task(finished):
    assert type(training.load_run(finished)) is training.TrainedClassifier


def test_usage_commands_fit_the_task_and_quote_the_folder():
    workdir = Path("it's mine [1]")
    commands = {
        name: training.usage_commands(Config().model_copy(update={"task": name}), workdir)
        for name in TASKS
    }
    modules = {name: [shlex.split(line)[2] for line in commands[name]] for name in commands}
    assert modules == {
        "classification": ["rnnjax.evaluate", "rnnjax.predict"],
        "language_modeling": ["rnnjax.evaluate", "rnnjax.generate"],
        "memory": [],
        "translation": ["rnnjax.translate"],
    }
    for command in itertools.chain(*commands.values()):
        assert shlex.split(command)[3] == f"--workdir={workdir}"


@pytest.mark.parametrize(
    ("cell", "needs_trust"),
    [("GRUCell", False), ("flax.linen:GRUCell", False), ("my_cell:MyCell(gates=2)", True)],
)
def test_usage_commands_trust_a_foreign_cell(news, cell, needs_trust):
    config = news_config(news, model__cell=cell)
    commands = training.usage_commands(config, Path("run"))
    assert commands
    assert all((" --trust" in command) == needs_trust for command in commands)
