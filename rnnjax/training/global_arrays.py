"""Arrays of several processes, each of which has a part of their rows or a copy."""

from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from rnnjax.training.processes import num_processes


def place(tree: Any, shardings: Any) -> Any:
    """Returns arrays on the devices of all processes, each of which has the whole arrays.

    Args:
      tree: arrays; those that are on the devices of all processes stay as they are.
      shardings: a prefix of the tree.
    """

    def put(leaf: Any, sharding: NamedSharding) -> jax.Array:
        if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
            return leaf
        values = np.asarray(leaf)
        return jax.make_array_from_callback(values.shape, sharding, lambda index: values[index])

    return jax.tree.map(put, tree, jax.tree.broadcast(shardings, tree))


def replicate(tree: Any) -> Any:
    """Returns a tree whose arrays of one process alone are copies on the devices of all."""
    if num_processes() == 1:
        return tree
    mesh = Mesh(np.asarray(jax.devices()), ("devices",))
    return place(tree, NamedSharding(mesh, PartitionSpec()))


def to_host(leaf: Any) -> np.ndarray:
    """Returns the whole of an array; every process calls it."""
    is_global = isinstance(leaf, jax.Array) and not leaf.is_fully_addressable
    if is_global and not leaf.is_fully_replicated:
        return multihost_utils.process_allgather(leaf, tiled=True)
    return np.asarray(leaf)
