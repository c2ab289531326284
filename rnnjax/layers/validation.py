"""Validation of the arguments of recurrent layers, before any computation."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from rnnjax.cells import AbstractCell, State
from rnnjax.errors import InputError


def require_cell(cell: Any) -> None:
    """Checks that this is an instance of a recurrent cell.

    Raises:
      InputError: it is not.
    """
    if not isinstance(cell, AbstractCell | nn.RNNCellBase):
        raise InputError(
            f"cell is a {type(cell).__name__}; expected a rnnjax.cells.Cell or a flax RNN cell, as "
            "an instance: LSTMCell(64), not LSTMCell"
        )


def require_states(states: Any, count: int, expected: str) -> None:
    """Checks that there is one initial state for each layer or direction.

    Raises:
      InputError: there is not.
    """
    if not isinstance(states, tuple | list) or len(states) != count:
        length = f" of {len(states)}" if isinstance(states, tuple | list) else ""
        raise InputError(
            f"initial_state: given a {type(states).__name__}{length}, expected {expected}; None in "
            "the place of one for the cell's initial_state"
        )


def require_arrays(inputs: jax.Array, **flags: jax.Array | None) -> None:
    """Checks shapes and dtypes of inputs `[batch, time, ...]` and flags, bool `[batch, time]`.

    Raises:
      InputError: one does not have them.
    """
    for name, values in {"inputs": inputs, **flags}.items():
        if values is not None and not hasattr(values, "dtype"):
            raise InputError(
                f"{name} is a {type(values).__name__}; expected an array (jnp.asarray({name}))"
            )
    if inputs.ndim < 3:
        raise InputError(
            f"inputs have the shape {inputs.shape}; expected [batch, time, features], so add the "
            "axis that is missing (inputs[None] for a single sequence)"
        )
    if inputs.shape[1] == 0:
        raise InputError(
            f"inputs have the shape {inputs.shape}, no time step; expected at least one, which may "
            "be masked: then the state is the initial one and the output zero"
        )
    for name, values in flags.items():
        if values is None:
            continue
        if values.dtype != jnp.bool_:
            raise InputError(
                f"{name} has the dtype {values.dtype}; expected bool ({name}.astype(bool) where "
                "ones stand for True)"
            )
        if values.shape != inputs.shape[:2]:
            raise InputError(
                f"{name} has the shape {values.shape}; expected [batch, time] = "
                f"{inputs.shape[:2]}, as the inputs have"
            )


def default_state(cell: nn.Module, inputs: jax.Array) -> State:
    """Returns the initial state of a cell for the rows of `inputs`."""
    shape = inputs.shape[:1] + inputs.shape[2:]
    if isinstance(cell, AbstractCell):
        return cell.initial_state(shape)
    assert isinstance(cell, nn.RNNCellBase)
    # flax's cells ask for a key; it is fixed because an initial state is no parameter.
    return cell.initialize_carry(jax.random.key(0), shape)


def validated_state(cell: nn.Module, inputs: jax.Array, state: State) -> State:
    """Checks an initial state against the cell's, and returns it in the cell's tuple types.

    Raises:
      InputError: its structure, or the shape or dtype of a part, is another.
    """

    def initialize():
        if not isinstance(cell, AbstractCell):
            return default_state(cell, inputs)
        # On a copy, so that its parameters and random draws do not enter the layer.
        shape = inputs.shape[:1] + inputs.shape[2:]
        bare = cell.copy(parent=None, name=None)
        return bare.init_with_output(jax.random.key(0), shape, method="initial_state")[0]

    expected = jax.eval_shape(initialize)
    state = _match_tuple_types(state, expected)
    if jax.tree.structure(state) != jax.tree.structure(expected):
        raise InputError(
            f"initial_state: given {_format_state(state)}, expected {_format_state(expected)}, "
            f"a state of {type(cell).__name__}"
        )
    leaves, _ = jax.tree_util.tree_flatten_with_path(state)
    for (path, leaf), reference in zip(leaves, jax.tree.leaves(expected), strict=True):
        if (jnp.shape(leaf), jnp.result_type(leaf)) != (reference.shape, reference.dtype):
            raise InputError(
                f"initial_state{jax.tree_util.keystr(path)}: given {_format_state(leaf)}, expected "
                f"{_format_state(reference)}, a part of {type(cell).__name__}.initial_state: a row "
                "for each of the inputs', in the dtype of the cell's states"
            )
    return state


def _match_tuple_types(state: State, expected: State) -> State:
    """Replaces plain tuples in a state by the named tuples of the expected one."""
    fits = type(state) in (tuple, type(expected)) and isinstance(expected, tuple)
    if not fits or len(state) != len(expected):
        return state
    parts = [_match_tuple_types(*pair) for pair in zip(state, expected, strict=True)]
    return type(expected)(*parts) if hasattr(expected, "_fields") else tuple(parts)


def _format_state(state: State) -> str:
    def describe(leaf):
        return f"{leaf.dtype}{list(leaf.shape)}" if hasattr(leaf, "dtype") else repr(leaf)

    return str(jax.tree.map(describe, state)).replace("'", "")
