"""The keys of a config: default, values and meaning of each, as the schema declares them."""

import typing
from collections.abc import Iterator
from typing import Any, NamedTuple

from rnnjax.config.schema import Config, ConfigSection


class ConfigKey(NamedTuple):
    """A key of the schema.

    Attributes:
      path: 'model.cell', say.
      type: bool, int, float or str.
      default: value where a config says nothing.
      choices: the values that are allowed; () where the schema lists none.
      meaning: a sentence or more.
    """

    path: str
    type: type
    default: Any
    choices: tuple[str, ...]
    meaning: str


class KeySection(NamedTuple):
    """A section of the schema: its path ('' for the top), its meaning and its own keys."""

    path: str
    meaning: str
    keys: list[ConfigKey]


def key_sections(
    schema: type[ConfigSection] = Config, path: str = "", meaning: str = ""
) -> Iterator[KeySection]:
    """Yields the sections of the schema, the top one first, with the keys of each."""
    keys, below = [], []
    for name, field in schema.model_fields.items():
        key = f"{path}.{name}".lstrip(".")
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, ConfigSection):
            below.append((kind, key, field.description or _paragraph(kind)))
            continue
        literal = typing.get_origin(kind) is typing.Literal
        keys.append(
            ConfigKey(
                key,
                type(field.default),
                field.default,
                typing.get_args(kind) if literal else (),
                _one_line(field.description or ""),
            )
        )
    yield KeySection(path, meaning or _paragraph(schema), keys)
    for kind, key, text in below:
        yield from key_sections(kind, key, _one_line(text))


def _paragraph(schema: type[ConfigSection]) -> str:
    return _one_line((schema.__doc__ or "").partition("\n\n")[0])


def _one_line(text: str) -> str:
    return " ".join(text.split())
