"""Options that every task on a `RecurrentModel` takes from its config."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.core import FrozenDict

from rnnjax.cells import make_cell
from rnnjax.cells.base import frozen_names
from rnnjax.config.constraints import layer_widths
from rnnjax.config.sections import ModelConfig
from rnnjax.models.initialization import Initialization
from rnnjax.tasks.task import Params


def recurrent_options(
    config: ModelConfig, dtype: str, initialization: Initialization | None = None
) -> dict[str, Any]:
    """Returns the attributes of a `RecurrentModel`.

    Args:
      config: section `model`.
      dtype: of the computation.
      initialization: as for `make_initialization`.

    Raises:
      InputError: there is no cell of that name.
    """
    return {
        "cell": make_cell(config.cell, config.features, jnp.dtype(dtype)),
        "layers": config.layers,
        "layer_features": layer_widths(config) if config.layer_features else (),
        "connection": config.connection,
        "layer_norm": config.layer_norm,
        "block": FrozenDict(config.block.model_dump() if config.block.features else {}),
        "bidirectional": config.bidirectional,
        "merge": config.merge,
        "dropout": config.dropout,
        "input_dropout": config.regularization.input_dropout,
        "hidden_dropout": config.regularization.hidden_dropout,
        "output_dropout": config.regularization.output_dropout,
        "variational": config.regularization.variational_dropout,
        "recurrent_dropout": config.regularization.recurrent_dropout,
        "zoneout": config.regularization.zoneout,
        "weight_drop": config.regularization.weight_dropout,
        "learned_initial_state": config.learned_initial_state,
        "engine": config.engine,
        "remat": config.remat,
        "initialization": make_initialization(config, initialization),
        "dtype": jnp.dtype(dtype),
    }


def check_cell(config: ModelConfig) -> None:
    """Raises InputError if there is no such cell, or no such initial values for it."""
    cell = make_cell(config.cell, config.features)
    make_initialization(config).cell(cell, inputs=1)


def make_initialization(
    config: ModelConfig, default: Initialization | None = None
) -> Initialization:
    """Returns the initial values that a config chooses.

    Args:
      config: section `model`.
      default: of the task, where the config names no library; None for that of Keras.
    """
    base = default or Initialization()
    if config.initialization:
        base = Initialization(config.initialization, strict=True)
    scales = {
        "embedding_scale": config.embedding.scale,
        "recurrent_scale": config.recurrent_scale,
        "output_scale": config.output.scale,
    }
    return dataclasses.replace(base, **{name: scale for name, scale in scales.items() if scale})


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
