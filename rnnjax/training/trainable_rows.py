"""Excludes embedding rows without a token of the vocabulary from the optimizer.

A classifier's embedding has `config.data.vocabulary.size` rows, as the lesson's has, also where the
fitted vocabulary is smaller. The gradient of the remaining rows is zero and Adam would leave them
as they are, but they would take most of a small network's step.
"""

from collections.abc import Mapping
from typing import Any

import jax


def trim_rows(tree: Any, num_rows: Mapping[str, int]) -> Any:
    """Cuts arrays of a pytree to their leading rows.

    Args:
      tree: parameters, or anything that contains them.
      num_rows: by the path of a parameter, as `Task.trainable_rows`.
    """

    def trim(path: tuple[Any, ...], leaf: jax.Array) -> jax.Array:
        name = "/" + jax.tree_util.keystr(path, simple=True, separator="/")
        matches = [rows for key, rows in num_rows.items() if name.endswith(f"/{key}")]
        return leaf[: matches[0]] if matches else leaf

    return jax.tree_util.tree_map_with_path(trim, tree) if num_rows else tree


def restore_rows(tree: Any, trimmed: Any) -> Any:
    """Returns the trimmed pytree with the rows that `trim_rows` cut off, from the original one."""

    def restore(original: jax.Array, leading: jax.Array) -> jax.Array:
        if original.shape == leading.shape:
            return leading
        return original.at[: len(leading)].set(leading)

    return jax.tree.map(restore, tree, trimmed)
