"""Trains a config and returns the trained run, in one call."""

import os
import shlex
import shutil
import tempfile
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rnnjax.config import changed_values, load_config
from rnnjax.errors import InputError
from rnnjax.interrupt import InterruptedRunError
from rnnjax.tasks.trained_run import TrainedRun
from rnnjax.training.launch import train
from rnnjax.training.run_loading import load_run


def fit(
    config: Any,
    overrides: Mapping[str, Any] | None = None,
    *,
    workdir: str | os.PathLike[str] | None = None,
    **values: Any,
) -> TrainedRun:
    """Trains the model of a config, and returns the trained run.

        run = rnnjax.fit("bilstm", {"model.cell": "GRUCell"}, epochs=2, seed=0)
        run.predict(["Oil prices fall"])

    Args:
      config: name of a config ('bilstm'), path of a config file, `ConfigDict` or nested mappings.
      overrides: values by dotted key.
      workdir: the folder of the run, new or to resume. Without it nothing remains on the disk but
        temporary files, as long as the returned run lives; `save` copies them.
      **values: values of keys of the top section, such as `epochs`.

    Raises:
      InputError: the config or the data cannot be used; the message says what to do.
      InterruptedRunError: SIGINT, SIGTERM or SIGHUP was received, and the state was saved in
        `workdir`.
      KeyboardInterrupt: the same without `workdir`, and nothing was saved.
    """
    parsed = load_config(config, {**(overrides or {}), **values})
    if parsed.replicates > 1:
        raise InputError(
            f"config.replicates: given {parsed.replicates}, and fit returns one network; train "
            "each seed by itself, or all of them by `rnnjax train`"
        )
    name, command = "config", ""
    if isinstance(config, (str, os.PathLike)):
        name = Path(config).stem
        changed = changed_values(parsed, load_config(config))
        flags = [f"--config.{key}={value}" for key, (value, _) in changed.items()]
        command = shlex.join(
            ["python", "-m", "rnnjax.main", f"--config={os.fspath(config)}", *flags]
        )
    if workdir is not None:
        train(parsed, name, Path(workdir), command)
        return load_run(workdir, trust=True)
    folder = Path(tempfile.mkdtemp(prefix="rnnjax-"))
    try:
        train(parsed, name, folder, command)
        run = load_run(folder, trust=True)
    except InterruptedRunError as interruption:
        shutil.rmtree(folder, ignore_errors=True)
        raise KeyboardInterrupt(
            "the training was interrupted, and nothing was saved, because fit had no workdir"
        ) from interruption
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    weakref.finalize(run, shutil.rmtree, folder, ignore_errors=True)
    return run
