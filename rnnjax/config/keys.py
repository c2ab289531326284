"""The keys of a config: default, values and meaning of each, as the schema declares them."""

import typing
from collections.abc import Iterator
from typing import Any, NamedTuple

from rnnjax.config.schema import Config
from rnnjax.config.sections import ConfigSection
from rnnjax.config.task_schema import find_schema, task_names


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


def key_sections() -> Iterator[KeySection]:
    """Yields the sections of the schema, the top one first and those of tasks last."""
    yield from _sections(Config)
    for task in task_names():
        yield from task_sections(task)


def task_sections(task: str) -> Iterator[KeySection]:
    """Yields the section of a task and those within it; none if it has no keys of its own.

    Args:
      task: as for `find_schema`.

    Raises:
      InputError: there is no such task.
    """
    schema = find_schema(task)
    if schema.section:
        yield from _sections(schema.section, schema.name)


def _sections(
    schema: type[ConfigSection], path: str = "", meaning: str = ""
) -> Iterator[KeySection]:
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
                kind if kind in (bool, int, float) else str,
                field.get_default(call_default_factory=True),
                typing.get_args(kind) if literal else (),
                _one_line(field.description or ""),
            )
        )
    yield KeySection(path, meaning or _paragraph(schema), keys)
    for kind, key, text in below:
        yield from _sections(kind, key, _one_line(text))


def _paragraph(schema: type[ConfigSection]) -> str:
    return _one_line((schema.__doc__ or "").partition("\n\n")[0])


def _one_line(text: str) -> str:
    return " ".join(text.split())
