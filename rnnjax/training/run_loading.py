"""Loads a trained run as the class for its task, and names the commands that use it."""

import os
from pathlib import Path

from rnnjax.config import Config
from rnnjax.training.run_folder import RunFolder
from rnnjax.training.trained_classifier import TrainedClassifier
from rnnjax.training.trained_language_model import TrainedLanguageModel
from rnnjax.training.trained_run import TrainedRun, command_flags, query_command
from rnnjax.training.trained_translator import TrainedTranslator

TRAINED_RUNS: dict[str, type[TrainedRun]] = {
    "classification": TrainedClassifier,
    "language_modeling": TrainedLanguageModel,
    "memory": TrainedRun,
    "translation": TrainedTranslator,
}
"""The class of trained runs by task."""


def load_run(workdir: str | os.PathLike[str], trust: bool = False) -> TrainedRun:
    """Returns the network of a run from its newest checkpoint, as the class for its task.

    Args:
      workdir: the folder of the run, finished or not.
      trust: import the module of a cell from outside rnnjax and flax.

    Raises:
      InputError: there is no run, no checkpoint, a file is damaged, or the cell is not trusted.
    """
    workdir = Path(workdir)
    folder = RunFolder(workdir)
    folder.check_is_run(f"workdir {workdir}")
    _, config = folder.read_config()
    return TRAINED_RUNS[config.task].load(workdir, trust)


def usage_commands(config: Config, workdir: Path) -> list[str]:
    """Returns the command lines that evaluate a trained network on a file and that query it.

    Args:
      config: of the run; not every task has both commands.
      workdir: the folder of the run, finished or not.
    """
    commands = []
    if TRAINED_RUNS[config.task]._evaluate_file is not TrainedRun._evaluate_file:
        commands.append(f"python -m rnnjax.evaluate {command_flags(config, workdir)} --data=FILE")
    if command := query_command(config, workdir):
        commands.append(command)
    return commands
