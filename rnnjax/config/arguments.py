"""Arguments of a function as the value of a key: a dict, or text such as 'momentum=0.9'."""

import ast
import math
from collections.abc import Mapping
from typing import Annotated, Any

import pydantic

_EXPECTED = "expected a dict of names and values, or text such as 'momentum=0.9, nesterov=True'"


def parse_arguments(value: Any) -> Any:
    """Returns arguments as JSON has them: a dict of numbers, bools, text, and lists and dicts.

    Args:
      value: a mapping; text of a Python dict, or of keyword arguments, in which a bare name is
        text; anything else, which pydantic refuses.

    Raises:
      ValueError: the text cannot be read, or a value is none of these.
    """
    if isinstance(value, str):
        value = _read_text(value)
    if not isinstance(value, Mapping):
        return value
    try:
        return _normalize(value, "")
    except RecursionError:
        raise ValueError(f"given values nested too deep to read, {_EXPECTED}") from None


def _read_text(text: str) -> Any:
    try:
        if text.lstrip().startswith("{"):
            return ast.literal_eval(text.strip())
        call = ast.parse(f"f({text})", mode="eval").body
        assert isinstance(call, ast.Call)
        names = [keyword.arg for keyword in call.keywords]
        if call.args or None in names or len(set(names)) < len(names):
            raise ValueError("positional or repeated arguments")
        return {str(keyword.arg): _read_value(keyword.value) for keyword in call.keywords}
    except (ValueError, SyntaxError, AssertionError, RecursionError, MemoryError, TypeError):
        raise ValueError(f"given {text[:200]!r}, {_EXPECTED}") from None


def _read_value(node: ast.expr) -> Any:
    return node.id if isinstance(node, ast.Name) else ast.literal_eval(node)


def _normalize(value: Any, path: str) -> Any:
    if isinstance(value, Mapping):
        items = value.items()
        return {str(key): _normalize(item, f"{path}.{key}".lstrip(".")) for key, item in items}
    if isinstance(value, (list, tuple)):
        return [_normalize(item, path) for item in value]
    is_number = isinstance(value, (int, float)) and math.isfinite(value)
    if not (is_number or isinstance(value, str)):
        raise ValueError(f"given {value!r} for {path}, expected a finite number, a bool or text")
    return value


Arguments = Annotated[dict[str, Any], pydantic.BeforeValidator(parse_arguments)]
"""Keyword arguments of a function."""


def _write_weights(value: Any) -> Any:
    """Returns weights of classes as text, as they may stand in a config.

    Raises:
      ValueError: the text cannot be read, or a weight is not positive.
    """
    if isinstance(value, str) and value in ("", "balanced"):
        return value
    weights = parse_arguments(value)
    if isinstance(weights, Mapping):
        for name, weight in weights.items():
            if isinstance(weight, bool | str | list | dict) or not weight > 0:
                raise ValueError(f"given {weight!r} for {name!r}, expected a number above 0")
        return repr(dict(weights))
    return value


ClassWeights = Annotated[str, pydantic.BeforeValidator(_write_weights)]
"""'' for none, 'balanced', or the text of a dict of positive weights by class; a dict becomes such
a text."""

Factors = Annotated[
    dict[str, Annotated[float, pydantic.Field(ge=0.0)]], pydantic.BeforeValidator(parse_arguments)
]
"""Non-negative factors by pattern."""
