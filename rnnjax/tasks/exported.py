"""The form in which a trained network is exported: functions of arrays, and their settings."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.export import symbolic_shape

EXAMPLES = 20
"""Real inputs whose answers an export has, to be checked by."""


class ExportedFunction(NamedTuple):
    """A function of a network.

    Attributes:
      function: from parameters and arrays to arrays by name.
      inputs: shapes and dtypes of the arrays by name; symbols stand for batch and time.
    """

    function: Callable[..., Mapping[str, Any]]
    inputs: Mapping[str, jax.ShapeDtypeStruct]


class ExportedNetwork(NamedTuple):
    """A network without its library.

    Attributes:
      kind: of its answers, a key of `ANSWERS` in `rnnjax/exporting/run.py`.
      settings: which that function reads, ready for JSON.
      functions: by name.
      tensors: further arrays by name, such as an initial state.
    """

    kind: str
    settings: Mapping[str, Any]
    functions: Mapping[str, ExportedFunction]
    tensors: Mapping[str, np.ndarray] = {}


class Examples(NamedTuple):
    """Inputs with the answers of a trained network, both ready for JSON."""

    inputs: Sequence[Any]
    answers: Sequence[Any]


def symbols() -> tuple[Any, Any]:
    """Returns the symbols of batch and time; functions of one trace share theirs."""
    batch, time = symbolic_shape("b, t")
    return batch, time


def name_leaves(tree: Any, prefix: str) -> dict[str, Any]:
    """Returns the arrays of a pytree by their paths, such as 'state.0.hidden'."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {
        f"{prefix}.{jax.tree_util.keystr(path, simple=True, separator='.')}": leaf
        for path, leaf in leaves
    }


def add_batch(leaf: Any, batch: Any) -> jax.ShapeDtypeStruct:
    """Returns shape and dtype of an array `[1, ...]` for a batch."""
    return jax.ShapeDtypeStruct((batch, *leaf.shape[1:]), leaf.dtype)


def spread(values: Sequence[Any], count: int = EXAMPLES) -> list[Any]:
    """Returns some values, evenly spaced."""
    return list(values[:: max(len(values) // count, 1)][:count])
