"""Options that every task on a `RecurrentModel` takes from its config."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from rnnjax.cells import make_cell
from rnnjax.cells.base import frozen_names
from rnnjax.config.schema import ModelConfig
from rnnjax.tasks.task import Params


def recurrent_options(config: ModelConfig, dtype: str) -> dict[str, Any]:
    """Returns the attributes of a `RecurrentModel`.

    Raises:
      InputError: there is no cell of that name.
    """
    return {
        "cell": make_cell(config.cell, config.features, jnp.dtype(dtype)),
        "layers": config.layers,
        "bidirectional": config.bidirectional,
        "merge": config.merge,
        "dropout": config.dropout,
        "variational": config.regularization.variational_dropout,
        "recurrent_dropout": config.regularization.recurrent_dropout,
        "zoneout": config.regularization.zoneout,
        "weight_drop": config.regularization.weight_dropout,
        "learned_initial_state": config.learned_initial_state,
        "engine": config.engine,
        "remat": config.remat,
        "dtype": jnp.dtype(dtype),
    }


def trainable_mask(params: Params, cells: dict[str, nn.Module]) -> Params:
    """Returns a pytree of bools, False for the parameters that a cell declares frozen.

    Args:
      params: of a network.
      cells: the cell of each of its recurrent modules, by the module's name.
    """
    frozen = {name: frozen_names(cell) for name, cell in cells.items()}

    def is_trainable(path: tuple[Any, ...], _: jax.Array) -> bool:
        module, *names = (jax.tree_util.keystr((key,), simple=True) for key in path)
        return not frozen.get(module, frozenset()).intersection(names)

    return jax.tree_util.tree_map_with_path(is_trainable, params)
