"""Loading of trained runs, and the commands that use them."""

import itertools
import shlex
from pathlib import Path

import pytest

from rnnjax import training
from rnnjax.config import parse
from rnnjax.config.task_schema import task_names
from rnnjax.tasks.classification.task import ClassificationTask
from rnnjax.tasks.classification.trained_run import TrainedClassifier
from rnnjax.tasks.registry import find_task
from rnnjax.tasks.report_page import usage_commands

from .small_runs import news_config


def test_run_is_loaded_as_the_class_of_its_task(finished):
    assert type(training.load_run(finished)) is TrainedClassifier


def test_usage_commands_fit_the_task_and_quote_the_folder():
    workdir = Path("it's mine [1]")
    commands = {
        name: [line for _, line in usage_commands(find_task(name), parse({"task": name}), workdir)]
        for name in task_names()
    }
    modules = {name: [shlex.split(line)[2] for line in commands[name]] for name in commands}
    assert modules == {
        "classification": ["rnnjax.predict", "rnnjax.evaluate"],
        "language_modeling": ["rnnjax.generate", "rnnjax.score", "rnnjax.evaluate"],
        "memory": [],
        "tagging": ["rnnjax.predict", "rnnjax.evaluate"],
        "time_series": ["rnnjax.predict", "rnnjax.evaluate"],
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
    commands = [line for _, line in usage_commands(ClassificationTask, config, Path("run"))]
    assert commands
    assert all((" --trust" in command) == needs_trust for command in commands)
