"""Flags that set the keys of a config: `--config.model.cell=GRUCell`."""

import argparse
import functools
from collections.abc import Iterable, Sequence
from typing import Any

import pydantic

from rnnjax.class_import import is_class_path
from rnnjax.cli.parser import Parser
from rnnjax.config import Config, load_config
from rnnjax.config.catalog import config_names
from rnnjax.config.keys import ConfigKey, KeySection, key_sections, task_sections
from rnnjax.config.loading import read_task
from rnnjax.errors import InputError

_METAVARS = {int: "INTEGER", float: "NUMBER", str: "TEXT", bool: "True|False"}
_PREFIX = "config."
"""Of the names of values that belong to a config."""


def add_config_flags(parser: Parser) -> None:
    """Adds `--config`, and a flag for each key of the schema in a group for each section."""
    parser.add_argument(
        "--config",
        default="",
        help="A config's name, as `rnnjax` alone lists them, or the path of a config file.",
    )
    _add_flags(parser, key_sections())
    parser.add_missing_flags = _add_task_flags


def _add_task_flags(parser: Parser, args: argparse.Namespace) -> None:
    """Adds the flags of a task from outside the package, by the task that other flags name."""
    task = getattr(args, "config.task", "") or (read_task(args.config) if args.config else "")
    if is_class_path(task):
        _add_flags(parser, task_sections(task))


def _add_flags(parser: Parser, sections: Iterable[KeySection]) -> None:
    for section in sections:
        title = ".".join(filter(None, ["config", section.path]))
        group = parser.add_argument_group(title, section.meaning)
        for key in section.keys:
            is_switch = key.type is bool
            group.add_argument(
                f"--config.{key.path}",
                dest=f"{_PREFIX}{key.path}",
                type=functools.partial(_convert, key),
                default=argparse.SUPPRESS,
                nargs="?" if is_switch else None,
                const=True if is_switch else None,
                metavar="|".join(key.choices) or _METAVARS[key.type],
                help=f"{key.meaning} Default: {key.default!r}.".replace("%", "%%"),
            )


def config_overrides(args: argparse.Namespace) -> dict[str, Any]:
    """Returns the values of the flags that were given, by the path of their keys."""
    return {
        name.removeprefix(_PREFIX): value
        for name, value in vars(args).items()
        if name.startswith(_PREFIX)
    }


def parsed_config(args: argparse.Namespace) -> Config:
    """Returns the config that the parsed flags ask for.

    Raises:
      InputError: `--config` is missing, or the config is refused.
    """
    if not args.config:
        raise InputError(
            f"--config is missing; expected the path of a config file, or one of "
            f"{', '.join(config_names())}"
        )
    return load_config(args.config, config_overrides(args))


def load_config_flags(arguments: Sequence[str]) -> Config:
    """Returns the config that `--config` and the flags of its keys ask for.

    Raises:
      InputError: a flag is unknown, or the config is refused.
    """
    parser = Parser("rnnjax train", "")
    add_config_flags(parser)
    return parsed_config(parser.parse(arguments))


def _convert(key: ConfigKey, text: str) -> Any:
    """Returns the value that a text stands for, or the text, which the schema then refuses."""
    if key.type is str:
        return text
    try:
        return pydantic.TypeAdapter(key.type).validate_strings(text)
    except pydantic.ValidationError:
        return text
