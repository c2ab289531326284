"""Trains a config and returns the trained run, in one call."""

import os
import shlex
import shutil
import signal
import tempfile
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rnnjax.config import Config, changed_values, load_config
from rnnjax.errors import InputError
from rnnjax.interrupt import InterruptedRunError
from rnnjax.reporting.progress import write_message
from rnnjax.tasks.trained_run import TrainedRun
from rnnjax.training.in_memory import FILE_KEYS, encode_splits
from rnnjax.training.launch import train
from rnnjax.training.run_folder import DATA, RunFolder
from rnnjax.training.run_loading import load_run


def fit(
    config: Any,
    overrides: Mapping[str, Any] | None = None,
    *,
    train: Any = None,
    validation: Any = None,
    test: Any = None,
    workdir: str | os.PathLike[str] | None = None,
    **values: Any,
) -> TrainedRun:
    """Trains the model of a config, and returns the trained run.

        run = rnnjax.fit("bilstm", {"model.cell": "GRUCell"}, epochs=2, seed=0)
        run = rnnjax.fit("bilstm", train=(texts, labels))
        run = rnnjax.fit("bilstm", {"data.text": "review", "data.label": "stars"}, train=frame)
        run.predict(["Oil prices fall"])

    An interruption (Ctrl-C, or the stop button of a notebook) ends the training after the current
    step, and the network as it is then is returned, without test scores.

    Args:
      config: name of a config ('bilstm'), path of a config file, `ConfigDict` or nested mappings.
      overrides: values by dotted key.
      train: data in memory instead of the corpus of the config, as `encode_splits` takes them: a
        pair of texts or arrays and labels, a frame, or texts. They are written to the folder of
        the run.
      validation: of the validation split, likewise; None for the one of the config.
      test: of the test split, likewise; None for a share of `train`, `data.test`.
      workdir: the folder of the run, new or to resume. Without it nothing remains on the disk but
        temporary files, as long as the returned run lives; `save` copies them.
      **values: values of keys of the top section, such as `epochs`.

    Raises:
      InputError: the config or the data cannot be used; the message says what to do.
      InterruptedRunError: SIGTERM or SIGHUP was received, and the state was saved in `workdir`.
      KeyboardInterrupt: the same without `workdir`, and nothing was saved; or Ctrl-C before the
        first step.
    """
    splits = {"train": train, "validation": validation, "test": test}
    splits = {name: data for name, data in splits.items() if data is not None}
    if splits and train is None:
        raise InputError(f"{' and '.join(splits)}: given without train; expected train as well")
    files, keys = encode_splits(splits)
    folder = Path(tempfile.mkdtemp(prefix="rnnjax-") if workdir is None else workdir)
    try:
        for key in FILE_KEYS.values():
            if key in keys:
                keys[key] = str(folder.resolve() / DATA / keys[key])
        run = _train_and_load(config, {**keys, **(overrides or {}), **values}, folder, files)
    except BaseException as error:
        if workdir is None:
            shutil.rmtree(folder, ignore_errors=True)
            if isinstance(error, InterruptedRunError):
                raise KeyboardInterrupt(
                    "the training was ended, and nothing was saved, because fit had no workdir"
                ) from error
        raise
    if workdir is None:
        weakref.finalize(run, shutil.rmtree, folder, ignore_errors=True)
    return run


def _train_and_load(
    source: Any, overrides: Mapping[str, Any], folder: Path, files: Mapping[str, bytes]
) -> TrainedRun:
    """Trains a config in a folder that gets files with data, and returns the trained run."""
    config = load_config(source, overrides)
    if config.replicates > 1:
        raise InputError(
            f"config.replicates: given {config.replicates}, and fit returns one network; train "
            "each seed by itself, or all of them by `rnnjax train`"
        )
    if files:
        RunFolder(folder).check_config(config)
        (folder / DATA).mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (folder / DATA / name).write_bytes(content)
    try:
        train(config, *_name_and_command(source, config, folder))
    except InterruptedRunError as interruption:
        if interruption.status != 128 + signal.SIGINT:
            raise
        write_message(f"{interruption}, without scores; the network as it is can be used")
    return load_run(folder, trust=True)


def _name_and_command(source: Any, config: Config, folder: Path) -> tuple[str, Path, str]:
    """Returns the name of a run, its folder, and the command that would train it, '' for none."""
    if not isinstance(source, (str, os.PathLike)):
        return "config", folder, ""
    changed = changed_values(config, load_config(source))
    flags = [f"--config.{key}={value}" for key, (value, _) in changed.items()]
    command = ["python", "-m", "rnnjax.main", f"--config={os.fspath(source)}", *flags]
    return Path(source).stem, folder, shlex.join(command)
