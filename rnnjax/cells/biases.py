"""Biases of several gates side by side, as cells begin with them.

Places of gates are a cell's own: from outside they are asked for by the cell, as
`rnnjax.cells.forget_bias` and `rnnjax.cells.chrono` do.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from rnnjax.cells.base import Initializer
from rnnjax.errors import InputError


def gate_bias(value: float = 1.0, gate: int = 1, gates: int = 4) -> Initializer:
    """Returns an initializer: `value` for one of the gates, zero elsewhere.

    By default it is that of an LSTM, whose forget gate is the second of four. Source: Jozefowicz,
    Zaremba, Sutskever, An empirical exploration of recurrent network architectures, ICML 2015.
    """
    return _side_by_side(lambda key, shape, dtype: {gate: value}, gates)


def chrono_bias(max_steps: float, keeps: int | None, opens: int | None, gates: int) -> Initializer:
    r"""Returns an initializer: :math:`\log u` for the gate that keeps, its negative for the other.

    u is uniform on [1, max_steps - 1]. Either gate may be None: the cell has none of that kind.
    """

    def parts(key, shape, dtype):
        log_u = jnp.log(jax.random.uniform(key, shape, dtype, 1, max_steps - 1))
        return {keeps: log_u, opens: -log_u}

    return _side_by_side(parts, gates)


def _side_by_side(parts: Callable[..., Mapping[int | None, Any]], gates: int) -> Initializer:
    """Returns an initializer of the biases that `parts` returns for some gates, zero for the
    rest.
    """

    def init(key, shape, dtype=jnp.float32, out_sharding=None):
        del out_sharding
        if shape[-1] % gates:
            raise InputError(
                f"bias: given the shape {tuple(shape)}, expected {gates} gates side by side; "
                "bias_init is of another cell, so ask for one by rnnjax.cells.forget_bias(cell) "
                "or rnnjax.cells.chrono(cell, max_steps)"
            )
        gate_shape = (*shape[:-1], shape[-1] // gates)
        biases = parts(key, gate_shape, dtype)
        zero = jnp.zeros(gate_shape, dtype)
        return jnp.concatenate([zero + biases.get(gate, 0) for gate in range(gates)], axis=-1)

    return init
