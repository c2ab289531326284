"""Validation of configs, and the keys in which two of them differ."""

import difflib
from collections.abc import Mapping
from typing import Any

import pydantic

from rnnjax.config.schema import Config, config_class, flat
from rnnjax.config.task_schema import default_task, task_names
from rnnjax.errors import InputError

PATH_KEYS = (
    *("data.dir", "data.file", "data.validation_file", "data.test_file"),
    *("model.embedding.path", "init_from"),
)
"""The keys that name a file or folder, whose content counts and not the spelling of its path."""


def replicate_configs(config: Config) -> list[Config]:
    """Returns the config of each replicate by itself."""
    seeds = range(config.seed, config.seed + config.replicates)
    return [config.model_copy(update={"seed": seed, "replicates": 1}) for seed in seeds]


def defaults(task: str = "", *, trust: bool = True) -> dict[str, Any]:
    """Returns every key with its default, as nested dicts: the start of a config file.

    Args:
      task: as for `find_schema`; '' for the default one.
      trust: as for `parse`.

    Raises:
      InputError: there is no such task.
    """
    task = task or default_task()
    return config_class(task, trust=trust)(task=task).model_dump()


def parse(values: Mapping[str, Any], name: str = "config", *, trust: bool = True) -> Config:
    """Returns the validated config.

    Args:
      values: nested mappings, as a config file's ConfigDict gives with `to_dict()`. Every key may
        be left out; it then has its default.
      name: of the config in messages.
      trust: import the module of a task from outside the package, and so run it; otherwise the
        section of such a task is not validated.

    Raises:
      InputError: a key is unknown or has a value of another type or outside its range. The message
        names every such key by its full path.
    """
    if not isinstance(values, Mapping):
        raise InputError(f"{name} is a {type(values).__name__}; expected nested mappings of keys")
    task = values.get("task")
    task = task if isinstance(task, str) else default_task()
    schema = config_class(task, trust=trust, name=name)
    try:
        return schema.model_validate(values)
    except pydantic.ValidationError as error:
        lines = [_explain(detail, name, task, trust) for detail in error.errors()]
        raise InputError("\n".join(lines)) from None


def parse_recorded(
    values: Mapping[str, Any], name: str = "config", *, trust: bool = True
) -> Config:
    """Returns the config of a recorded run, whose keys may be those of an earlier schema.

    Args:
      values: as for `parse`. Arguments of Adam were keys of the optimizer once.
      name: as for `parse`.
      trust: as for `parse`.

    Raises:
      InputError: as for `parse`.
    """
    optimizer = values.get("optimizer") if isinstance(values, Mapping) else None
    if isinstance(optimizer, Mapping) and "name" not in optimizer:
        optimizer = dict(optimizer)
        moved = {key: optimizer.pop(key) for key in ("b2", "epsilon") if key in optimizer}
        defaults = {"b2": 0.999, "epsilon": 1e-7}
        arguments = {key: value for key, value in moved.items() if value != defaults[key]}
        values = {**values, "optimizer": {**optimizer, "arguments": arguments}}
    return parse(values, name, trust=trust)


def changed_values(first: Config, second: Config) -> dict[str, tuple[Any, Any]]:
    """Returns both values of each key in which two configs differ, but for their reasons."""
    a, b = (dict(flat(c.model_dump(exclude={"acknowledged"}))) for c in (first, second))
    pairs = {key: (a.get(key, ""), b.get(key, "")) for key in {**a, **b}}
    return {key: values for key, values in pairs.items() if values[0] != values[1]}


def differences(first: Config, second: Config) -> list[str]:
    """Returns a line `key: first, second` for each key in which two configs differ."""
    return [f"{key}: {a!r}, {b!r}" for key, (a, b) in changed_values(first, second).items()]


def key_paths(task: str = "", *, trust: bool = True) -> list[str]:
    """Returns the path of every key, 'data.take' say, of a task."""
    return [path for path, _ in flat(defaults(task, trust=trust))]


def check_key(key: str, task: str = "", name: str = "config", *, trust: bool = True) -> None:
    """Raises InputError if a task has no key or section of that path, 'data.take' say."""
    leaves = key_paths(task, trust=trust)
    sections = {path.rsplit(".", 1)[0] for path in leaves if "." in path}
    keys = [*leaves, *sorted(sections)]
    if key in keys:
        return
    section = key.partition(".")[0]
    if section in task_names() and section != (task or default_task()):
        raise InputError(
            f"{name}.{key}: is a key of the task {section!r}, and {name}.task is "
            f"{task or default_task()!r}; leave it out, or set {name}.task={section!r}"
        )
    close = difflib.get_close_matches(key, keys, n=1, cutoff=0.7)
    if not close:
        last = {path: path.split(".")[-1] for path in keys}
        best = difflib.get_close_matches(key.split(".")[-1], last.values(), n=1, cutoff=0.7)
        close = [path for path in keys if last[path] in best]
    hint = (
        f"did you mean {' or '.join(f'{name}.{path}' for path in close)}?"
        if close
        else "`rnnjax train --help` lists the keys"
    )
    raise InputError(f"{name}.{key}: there is no such key; {hint}")


def _explain(detail: Any, name: str, task: str, trust: bool) -> str:
    key = ".".join(map(str, detail["loc"]))
    if detail["type"] == "extra_forbidden":
        try:
            check_key(key, task, name, trust=trust)
        except InputError as error:
            return str(error)
    if detail["type"] == "value_error":
        return f"{'.'.join([name, key] if key else [name])}: {detail['ctx']['error']}"
    expected = detail["msg"].replace("Input should", "it should")
    value = detail["input"]
    return f"{name}.{key}: given {_shorten(value)} ({type(value).__name__}), {expected}"


def _shorten(value: Any) -> str:
    try:
        text = repr(value)
    except ValueError:  # Python writes no number of thousands of digits
        return "a number of thousands of digits"
    except RecursionError:
        return "a value that is nested too deeply"
    return text if len(text) <= 200 else f"{text[:199]}…"
