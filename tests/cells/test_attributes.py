"""Attributes of cells are checked against their annotations."""

import dataclasses
import typing
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.cells import CELLS, GRUCell, LSTMCell, MGUCell, SLSTMCell
from rnnjax.cells.attributes import Initializer
from rnnjax.errors import InputError

WRONG: dict[Any, tuple[Any, ...]] = {
    Initializer: (3, "zeros", None),
    bool: (1, "yes", None),
    int: (2.5, "2", True, None),
    float: ("0.1", None, (1.0,), float("nan")),
}


@pytest.mark.parametrize("name", CELLS)
def test_wrong_types_are_named(name):
    cell = CELLS[name]
    annotations = typing.get_type_hints(cell)
    for field in dataclasses.fields(cell):
        wrong: tuple[Any, ...] = WRONG.get(annotations[field.name], ())
        if field.name in ("dtype", "param_dtype"):
            wrong = ("no", 3, jnp.int32, jnp.ones, [])
        for value in wrong:
            with pytest.raises(InputError, match=rf"^{field.name}: given .*expected"):
                cell(**{"features": 4, field.name: value})


@pytest.mark.parametrize(
    ("cell", "options"),
    [
        (GRUCell, {"kernel_init": nn.initializers.zeros, "dtype": jnp.bfloat16}),
        (LSTMCell, {"update_dropout": np.float32(0.5), "param_dtype": "float16"}),
        (SLSTMCell, {"bias_init": None}),
    ],
)
def test_right_types_are_accepted(cell, options):
    assert cell(np.int64(4), **options).features == 4


@pytest.mark.parametrize(
    ("cell", "options", "message"),
    [
        (GRUCell, {"kernel_init": 3}, "kernel_init: given 3, expected an initializer"),
        (MGUCell, {"reset": "never"}, "reset: given 'never', expected one of .*before"),
        (SLSTMCell, {"bias_init": 0.0}, "bias_init: given 0.0, expected .*, or None"),
        (GRUCell, {"features": "4"}, "features: given '4', expected a whole number"),
    ],
)
def test_messages_say_what_is_expected(cell, options, message):
    with pytest.raises(InputError, match=message):
        cell(**{"features": 4, **options})
