"""Copies of cells in other dtypes."""

import dataclasses
from typing import Any

import flax.linen as nn

from rnnjax.cells.base import AbstractCell


def with_dtypes(cell: nn.Module, **dtypes: Any) -> nn.Module | None:
    """Returns a cell and its inner cells with other dtypes; None without such fields."""
    fields = {field.name for field in dataclasses.fields(cell)}
    changes: dict[str, Any] = {name: dtypes[name] for name in dtypes if name in fields}
    for name in fields - {"parent"}:
        value = getattr(cell, name, None)
        if isinstance(value, AbstractCell | nn.RNNCellBase):
            inner = with_dtypes(value, **dtypes)
            changes |= {} if inner is None else {name: inner}
        elif isinstance(value, tuple | list) and any(isinstance(v, nn.Module) for v in value):
            changes[name] = type(value)(with_dtypes(inner, **dtypes) or inner for inner in value)
    return cell.clone(**changes) if changes else None
