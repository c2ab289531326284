"""What a caller gives a recurrent layer, checked before any work begins."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from rnnjax.cells import AbstractCell, State
from rnnjax.errors import InputError


def require_cell(cell: Any) -> None:
    """Raises an InputError if this is no recurrent cell."""
    if not isinstance(cell, AbstractCell | nn.RNNCellBase):
        raise InputError(
            f"cell is a {type(cell).__name__}; expected a rnnjax.cells.Cell or a flax RNN cell, as "
            "an instance: LSTMCell(64), not LSTMCell"
        )


def require_states(given: Any, count: int, expected: str) -> None:
    """Raises an InputError if these are not as many states as layers or directions ask for."""
    if not isinstance(given, tuple | list) or len(given) != count:
        many = f" of {len(given)}" if isinstance(given, tuple | list) else ""
        raise InputError(
            f"initial_state: given a {type(given).__name__}{many}, expected {expected}; None in "
            "the place of one for the cell's own"
        )


def require_arrays(inputs: jax.Array, **flags: jax.Array | None) -> None:
    """Raises an InputError if inputs, or flags of their steps, have no such shapes and dtypes."""
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
    """Returns the state in which a cell begins by itself, a row for each of the inputs'."""
    shape = inputs.shape[:1] + inputs.shape[2:]
    if isinstance(cell, AbstractCell):
        return cell.initial_state(shape)
    assert isinstance(cell, nn.RNNCellBase)
    # flax's cells ask for a key; it is fixed because an initial state is no parameter.
    return cell.initialize_carry(jax.random.key(0), shape)


def validated_state(cell: nn.Module, inputs: jax.Array, given: State) -> State:
    """Returns a caller's state as the cell has it, if it is one of this cell and these rows."""

    def begin():
        if not isinstance(cell, AbstractCell):
            return default_state(cell, inputs)
        # By a copy: what it makes and draws is none of the layer's.
        shape = inputs.shape[:1] + inputs.shape[2:]
        bare = cell.copy(parent=None, name=None)
        return bare.init_with_output(jax.random.key(0), shape, method="initial_state")[0]

    own = jax.eval_shape(begin)
    given = _named(given, own)
    if jax.tree.structure(given) != jax.tree.structure(own):
        raise InputError(
            f"initial_state: given {_shown(given)}, expected {_shown(own)}, a state of "
            f"{type(cell).__name__}"
        )
    leaves, _ = jax.tree_util.tree_flatten_with_path(given)
    for (path, part), expected in zip(leaves, jax.tree.leaves(own), strict=True):
        if (jnp.shape(part), jnp.result_type(part)) != (expected.shape, expected.dtype):
            raise InputError(
                f"initial_state{jax.tree_util.keystr(path)}: given {_shown(part)}, expected "
                f"{_shown(expected)}, as {type(cell).__name__} begins: a row for each of the "
                "inputs', in the dtype of the cell's states"
            )
    return given


def _named(given: State, own: State) -> State:
    """Returns a state in which plain tuples are the named ones of the cell's own state."""
    fits = type(given) in (tuple, type(own)) and isinstance(own, tuple)
    if not fits or len(given) != len(own):
        return given
    parts = [_named(*both) for both in zip(given, own, strict=True)]
    return type(own)(*parts) if hasattr(own, "_fields") else tuple(parts)


def _shown(state: State) -> str:
    def kind(leaf):
        return f"{leaf.dtype}{list(leaf.shape)}" if hasattr(leaf, "dtype") else repr(leaf)

    return str(jax.tree.map(kind, state)).replace("'", "")
