"""What tasks share whose network has recurrent layers: which, and what of them is trained."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from rnnjax.cells import make_cell
from rnnjax.cells.base import frozen_names
from rnnjax.config import Config
from rnnjax.tasks.task import Params


def options(config: Config) -> dict[str, Any]:
    """Returns the attributes of a `RecurrentModel` that a config sets.

    Raises:
      InputError: the config names a cell that there is not.
    """
    dtype, given = jnp.dtype(config.dtype), config.model
    return {
        "cell": make_cell(given.cell, given.features, dtype),
        "layers": given.layers,
        "bidirectional": given.bidirectional,
        "merge": given.merge,
        "dropout": given.dropout,
        "variational": given.regularization.variational_dropout,
        "recurrent_dropout": given.regularization.recurrent_dropout,
        "zoneout": given.regularization.zoneout,
        "weight_drop": given.regularization.weight_dropout,
        "learned_initial_state": given.learned_initial_state,
        "engine": given.engine,
        "remat": given.remat,
        "dtype": dtype,
    }


def trained(cell: nn.Module, params: Params) -> Params:
    """Returns for each parameter whether training may change it: not what a cell says is frozen."""
    frozen = frozen_names(cell)

    def may_change(path, _):
        first, *names = (jax.tree_util.keystr((key,), simple=True) for key in path)
        return not (first == "recurrent" and frozen.intersection(names))

    return jax.tree_util.tree_map_with_path(may_change, params)
