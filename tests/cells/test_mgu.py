"""The minimal gated unit."""

from typing import Any

import flax.linen as nn
import jax
import numpy as np
import pytest
from scipy.special import expit as sigmoid

from rnnjax.cells import MGUCell
from rnnjax.errors import InputError
from rnnjax.layers import RNN

from .reference import (
    FEATURES,
    INPUTS,
    ROWS,
    TIME,
    ZERO_KERNELS,
    assert_matches_equations,
    initial_params,
    random_like,
)


def mgu(cell, p, state, x):
    """The minimal gated unit of Zhou et al. (2016) and of flax."""
    (h,) = state
    i_f, i_n = np.split(x @ p["input"]["kernel"] + p["input"]["bias"], 2, axis=1)
    u_f, u_n = np.split(p["recurrent_kernel"], 2, axis=1)
    f = sigmoid(i_f + h @ u_f)
    from_state = {
        "after": lambda: f * (h @ u_n + p["recurrent_bias"]),
        "before": lambda: (f * h) @ u_n,
        "none": lambda: h @ u_n,
    }[cell.reset]()
    n = np.tanh(i_n + from_state)
    h = (1 - f) * n + f * h if cell.f_keeps else (1 - f) * h + f * n
    return (h,), h


@pytest.mark.parametrize(
    "options", [{}, {"reset": "none"}, {"reset": "before", "f_keeps": False}], ids=str
)
def test_equations(options):
    assert_matches_equations(MGUCell(FEATURES, **options), mgu)


@pytest.mark.parametrize("reset", ["after", "none"])
def test_outputs_equal_flax(reset):
    x = np.random.default_rng(0).standard_normal((ROWS, TIME, INPUTS)).astype(np.float32)
    flax_layer = nn.RNN(nn.MGUCell(FEATURES, reset_gate=reset == "after"), return_carry=True)
    shapes = jax.eval_shape(flax_layer.init, jax.random.key(0), x)["params"]["cell"]
    params = random_like(shapes, 4)

    def join(*parts):
        return np.concatenate(parts, axis=-1)

    converted = {
        "input": {key: join(params["if"][key], params["in"][key]) for key in ("kernel", "bias")},
        "recurrent_kernel": join(params["hf"]["kernel"], params["hn"]["kernel"]),
    }
    if reset == "after":
        converted["recurrent_bias"] = params["hn"]["bias"]
    expected: Any = flax_layer.apply({"params": {"cell": params}}, x)
    layer = RNN(MGUCell(FEATURES, reset=reset), engine="scan")
    actual: Any = layer.apply({"params": {"cell": converted}}, x)
    for array, desired in zip(actual, expected, strict=True):
        np.testing.assert_allclose(array, desired, rtol=0, atol=1e-6)


def test_forget_bias_starts_at_one():
    bias = initial_params(MGUCell(2, **ZERO_KERNELS))["input"]["bias"]
    assert bias.tolist() == [1, 1, 0, 0]


def test_invalid_reset_raises():
    message = "reset: given 'never', expected one of after, before, none"
    invalid: Any = "never"
    with pytest.raises(InputError, match=message):
        MGUCell(FEATURES, reset=invalid)
