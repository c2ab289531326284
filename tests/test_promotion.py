"""No cell relies on implicit promotion of dtypes, in float32 or bfloat16, by any engine.

All tests run with implicit promotion of ranks and dtypes as an error, trainings included; here
every cell is differentiated under it.
"""

from typing import Any

import jax
import jax.numpy as jnp
import pytest

from rnnjax.cells import CELLS, make_cell
from rnnjax.layers import RNN, available_engines, mask_from_lengths


def test_implicit_promotion_is_an_error():
    with pytest.raises(ValueError, match="rank_promotion"):
        jnp.add(jnp.ones((2, 3)), jnp.ones(3))
    with pytest.raises(ValueError, match="no available implicit dtype promotion path"):
        jnp.add(jnp.ones(3), jnp.ones(3, jnp.bfloat16))


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("dtype", [None, jnp.bfloat16])
def test_cells_do_not_promote_implicitly(name, dtype):
    if name.startswith("LayerNorm") and dtype is not None:
        pytest.skip("nn.LayerNorm of flax promotes bfloat16 to the dtype of its statistics")
    cell = make_cell(name, 4, dtype)
    inputs = jnp.ones((2, 5, 4, 4, 3) if name == "ConvLSTMCell" else (2, 5, 3))
    mask = mask_from_lengths(jnp.array([5, 3]), 5)
    for engine in set(available_engines(cell)) - {"pallas", "cudnn"}:
        layer: Any = RNN(cell, engine=engine)  # pyright: ignore[reportArgumentType]

        def loss(variables, layer=layer):
            _, outputs = layer.apply(variables, inputs, mask)
            return jnp.sum(outputs.astype(jnp.float32))

        variables = jax.eval_shape(layer.init, jax.random.key(0), inputs, mask)
        gradients = jax.eval_shape(jax.grad(loss), variables)
        assert jax.tree.structure(gradients) == jax.tree.structure(variables)
