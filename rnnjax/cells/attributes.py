"""Checks the attributes of a cell against their annotations."""

import dataclasses
import functools
import math
import typing
from numbers import Integral, Real
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from rnnjax.errors import InputError

Initializer = jax.nn.initializers.Initializer


def require_attributes(cell: nn.Module) -> None:
    """Raises an InputError for the first attribute whose value does not fit its annotation.

    Numbers, flags, literals, dtypes and initializers are checked; an attribute of another
    annotation may be anything.
    """
    annotations = _annotations(type(cell))
    for field in dataclasses.fields(cell):
        value = getattr(cell, field.name)
        expected = _expected(field.name, annotations.get(field.name, Any), value)
        if expected:
            raise InputError(f"{field.name}: given {value!r}, expected {expected}")


@functools.cache
def _annotations(cell_class: type) -> dict[str, Any]:
    try:
        return typing.get_type_hints(cell_class)
    except (NameError, TypeError):  # a forward reference that only a type checker can resolve
        return {}


def _expected(name: str, annotation: Any, value: Any) -> str:
    """Returns a description of the values that fit an annotation, or '' if this one does."""
    if name in ("dtype", "param_dtype"):
        if value is None and name == "dtype":
            return ""
        return "" if _is_floating(value) else "a floating dtype, such as jnp.float32"
    if type(None) in typing.get_args(annotation):
        alternatives = [
            alternative
            for alternative in typing.get_args(annotation)
            if alternative is not type(None)
        ]
        if value is None or len(alternatives) > 1:
            return ""
        expected = _expected(name, alternatives[0], value)
        return f"{expected}, or None" if expected else ""
    if annotation is Initializer:
        return "" if callable(value) else "an initializer, such as nn.initializers.zeros"
    if annotation is bool:
        return "" if isinstance(value, bool) else "True or False"
    if annotation is int:
        is_integer = isinstance(value, Integral) and not isinstance(value, bool)
        return "" if is_integer else "a whole number"
    if annotation is float:
        return "" if _is_finite(value) else "a finite number"
    if typing.get_origin(annotation) is Literal:
        options = typing.get_args(annotation)
        fits = any(type(value) is type(option) and value == option for option in options)
        return "" if fits else f"one of {', '.join(map(str, options))}"
    return ""


def _is_floating(dtype: Any) -> bool:
    try:
        return jnp.issubdtype(jnp.dtype(dtype), jnp.floating)
    except (TypeError, ValueError):
        return False


def _is_finite(value: Any) -> bool:
    if isinstance(value, jax.Array):  # a traced number is fine: it may be differentiated by
        return value.ndim == 0
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
