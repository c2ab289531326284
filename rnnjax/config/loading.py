"""Loading of configs: by name, from a file, or from mappings, with overrides."""

import copy
import os
import runpy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rnnjax.config.catalog import find_config
from rnnjax.config.parsing import check_key, parse
from rnnjax.config.schema import Config, flat
from rnnjax.errors import InputError
from rnnjax.input_files import open_regular


def load_config(source: Any, overrides: Mapping[str, Any] | None = None) -> Config:
    """Returns a validated config with some of its values replaced.

    Args:
      source: the name of a config ('bilstm') or the path of a config file, which is run; or the
        values themselves: a `ConfigDict`, nested mappings or a `Config`.
      overrides: values by dotted key, {"model.cell": "GRUCell"}, or in nested mappings.

    Raises:
      InputError: there is no such config, the file is none, or a key or value is refused. The
        message names every such key by its full path.
    """
    replaced = dict(flat(overrides or {}))
    values: Any
    if isinstance(source, (str, os.PathLike)):
        values = _run_file(find_config(source))
    else:
        values = source.model_dump() if isinstance(source, Config) else copy.deepcopy(source)
    task = replaced.get("task", values.get("task", "") if hasattr(values, "get") else "")
    for key in replaced:
        check_key(key, task if isinstance(task, str) else "")
    if hasattr(values, "to_dict"):  # a ConfigDict, whose fields may refer to one another
        with values.unlocked(), values.ignore_type():
            _replace_all(values, replaced)
        values = values.to_dict()
    else:
        _replace_all(values, replaced)
    return parse(values)


def read_task(source: str | os.PathLike[str]) -> str:
    """Returns the task that a config file names, '' for none, without validating the rest.

    Raises:
      InputError: there is no such config, or the file is none.
    """
    values = _run_file(find_config(source))
    task = values.get("task", "") if hasattr(values, "get") else ""
    return task if isinstance(task, str) else ""


def _run_file(path: Path) -> Any:
    """Runs a config file, and returns the result of its get_config()."""
    try:
        open_regular(path).close()  # Python would wait for the writer of a pipe
        return runpy.run_path(str(path))["get_config"]()
    except Exception as error:  # of any kind that the file raises
        reason = " ".join((str(error).strip() or "no message").split())
        raise InputError(
            f"{path}: expected a Python file with a get_config() that returns a ConfigDict, such "
            f"as configs/bilstm.py. {type(error).__name__}: {reason}"
        ) from error


def _replace_all(values: Any, replaced: Mapping[str, Any]) -> None:
    """Sets values by their dotted keys in nested sections; `parse` refuses a bad section."""
    for path, value in replaced.items():
        *names, key = path.split(".")
        section = values
        for name in names:
            if hasattr(section, "keys"):
                if name not in section:
                    section[name] = type(values)()
                section = section[name]
        if hasattr(section, "keys"):
            section[key] = value
