"""Loads the trained run of a folder."""

import os
import shlex
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from rnnjax import cache
from rnnjax.cells.registry import check_in_package as check_cell_in_package
from rnnjax.config import Config
from rnnjax.config.sections import DataConfig
from rnnjax.errors import InputError
from rnnjax.reporting.progress import write_message
from rnnjax.tasks.registry import check_in_package, find_task
from rnnjax.tasks.trained_run import TrainedRun
from rnnjax.training.finite import check_params
from rnnjax.training.in_memory import FILE_KEYS
from rnnjax.training.run_folder import DATA, RunFolder
from rnnjax.training.state import is_evaluated
from rnnjax.training.step import make_evaluate_step


def load_run(workdir: str | os.PathLike[str], trust: bool = False) -> TrainedRun:
    """Returns the network of a run from its newest checkpoint, as the class for its task.

    Args:
      workdir: the folder of the run, finished or not.
      trust: import the modules of a cell and of a task from outside the package, and so run them.

    Raises:
      InputError: there is no run, no checkpoint, a file is damaged, or a class is not trusted.
    """
    workdir = Path(workdir)
    cache.enable_compilation_cache()
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    folder = RunFolder(workdir)
    folder.check_is_run(f"workdir {workdir}")
    config, _ = folder.read(trust=trust)
    if not trust:
        _check_classes(workdir, config)
    task_class = find_task(config.task)
    if config.replicates > 1:
        folders = [replicate.path for _, replicate in folder.replicates(config)]
        raise InputError(
            f"workdir {workdir}: holds {len(folders)} networks, of the seeds {config.seed} to "
            f"{config.seed + len(folders) - 1}; ask one of them: "
            + shlex.quote(f"--workdir={folders[0]}")
        )
    data = folder.read_data(*task_class.metadata_keys)
    if data["fallback"]:
        write_message(
            f"WARNING: this network was trained on the {data['fallback']} corpus, which stood "
            "in for the news: its answers say nothing about news"
        )
    result = folder.read_result() if folder.result.exists() else {}
    vocabulary = folder.read_vocabulary()
    # All engines compute the same, and not every machine has that of the training.
    model = config.model.model_copy(update={"engine": "auto"})
    config = config.model_copy(update={"model": model, "data": _find_data(config.data, folder)})
    task = task_class.from_config(config, len(vocabulary) if vocabulary else 0, data)
    params = jax.eval_shape(task.init, jax.random.key(0))
    name = "average" if config.averaging.decay else "params"
    template: dict[str, Any] = {name: params}
    if config.early_stopping.patience:
        template["best"] = {"params": params, "loss": jax.ShapeDtypeStruct((), jnp.float32)}
    restored = folder.open_checkpoints().restore(template)
    if restored is None:
        raise InputError(
            f"workdir {workdir}: holds no checkpoint yet; let the run reach its first one "
            f"(config.checkpoint.every, {config.checkpoint.every} steps) or its end"
        )
    step, saved = restored
    if result and result["steps"] != step:
        write_message(
            f"WARNING: {workdir}: the result is that of step {result['steps']}, whose "
            f"checkpoint is not there; answers are those of step {step}"
        )
    is_best = "best" in saved and is_evaluated(saved["best"]["loss"])
    params = saved["best"]["params"] if is_best else saved[name]
    check_params(params, f"workdir {workdir}, checkpoint of step {step}")
    return task_class.trained_run()(
        config=config,
        task=task,
        data=data,
        vocabulary=vocabulary,
        boundaries=tuple(result.get("buckets", ())),
        params=params,
        step=step,
        evaluate_step=make_evaluate_step(task),
        folder=folder.path,
    )


def _find_data(config: DataConfig, folder: RunFolder) -> DataConfig:
    """Returns the section `data` with the files that are in the run's folder where they are now.

    The folder may have been moved or copied since the training.
    """
    paths = {}
    for key in FILE_KEYS.values():
        field = key.removeprefix("data.")
        recorded = Path(getattr(config, field))
        path = folder.path.resolve() / DATA / recorded.name
        if recorded.parent.name == DATA and path.exists():
            paths[field] = str(path)
    return config.model_copy(update=paths)


def _check_classes(workdir: Path, config: Config) -> None:
    """Raises InputError if the cell or task in a run's config, which is data, is foreign code."""
    try:
        check_cell_in_package(config.model.cell)
        check_in_package(config.task)
    except InputError as error:
        raise InputError(
            f"workdir {workdir}: its config.json asks for {error}. Read that file; if you trust "
            "it, repeat the command with --trust, or load(workdir, trust=True) in Python"
        ) from None
