"""Flags that set the keys of a config: `--config.model.cell=GRUCell`."""

import argparse
from collections.abc import Sequence
from typing import Any

import pydantic

from rnnjax.cli.parser import Parser
from rnnjax.config import Config, load_config
from rnnjax.config.keys import ConfigKey, key_sections

_METAVARS = {int: "INTEGER", float: "NUMBER", str: "TEXT", bool: "True|False"}


def add_config_flags(parser: Parser) -> None:
    """Adds `--config`, and a flag for each key of the schema in a group for each section."""
    parser.add_argument(
        "--config",
        default="",
        help="A config's name, as `rnnjax` alone lists them, or the path of a config file.",
    )
    for section in key_sections():
        title = ".".join(filter(None, ["config", section.path]))
        group = parser.add_argument_group(title, section.meaning)
        for key in section.keys:
            is_switch = key.type is bool
            group.add_argument(
                f"--config.{key.path}",
                dest=f"config.{key.path}",
                default=argparse.SUPPRESS,
                nargs="?" if is_switch else None,
                const="True" if is_switch else None,
                metavar="|".join(key.choices) or _METAVARS[key.type],
                help=f"{key.meaning} Default: {key.default!r}.".replace("%", "%%"),
            )


def config_overrides(args: argparse.Namespace) -> dict[str, Any]:
    """Returns the values of the flags that were given, by the path of their keys."""
    keys = {f"config.{key.path}": key for section in key_sections() for key in section.keys}
    return {
        keys[name].path: _convert(keys[name], text)
        for name, text in vars(args).items()
        if name in keys
    }


def load_config_flags(arguments: Sequence[str]) -> Config:
    """Returns the config that `--config` and the flags of its keys ask for.

    Raises:
      InputError: a flag is unknown, or the config is refused.
    """
    parser = Parser("rnnjax train", "")
    add_config_flags(parser)
    args = parser.parse(arguments)
    return load_config(args.config, config_overrides(args))


def _convert(key: ConfigKey, text: str) -> Any:
    """Returns the value that a text stands for, or the text, which the schema then refuses."""
    if key.type is str:
        return text
    try:
        return pydantic.TypeAdapter(key.type).validate_strings(text)
    except pydantic.ValidationError:
        return text
