"""Nothing relies on implicit promotion of dtypes: JAX_NUMPY_DTYPE_PROMOTION=strict changes nothing.

That of ranks is an error in all tests.
"""

from typing import Any

import jax
import jax.numpy as jnp
import pytest
from training.small_runs import news_config

from rnnjax import training
from rnnjax.cells import CELLS
from rnnjax.layers import RNN, available_engines, mask_from_lengths

pytest_plugins = ["training.small_runs"]


@pytest.fixture
def strict():
    """Sets it for all threads; the steps of a training are traced on one of their own."""
    before = jax.config.jax_numpy_dtype_promotion  # pyright: ignore[reportAttributeAccessIssue]
    jax.config.update("jax_numpy_dtype_promotion", "strict")
    yield
    jax.config.update("jax_numpy_dtype_promotion", before)


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("dtype", [None, jnp.bfloat16])
def test_cells_promote_nothing(strict, name, dtype):
    if name.startswith("LayerNorm") and dtype is not None:
        pytest.skip("nn.LayerNorm of flax promotes bfloat16 to the dtype of its statistics")
    cell_class: Any = CELLS[name]
    cell = cell_class(features=4, dtype=dtype)
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


def test_a_training_promotes_nothing(strict, news, tmp_path):
    options = {
        "schedule": "cosine",
        "warmup_steps": 1,
        "averaging__decay": 0.9,
        "data__validation": 0.25,
        "data__take": 32,
        "optimizer__clip_norm": 1.0,
        "optimizer__weight_decay": 0.01,
        "model__dropout": 0.1,
        "model__regularization__embedding_dropout": 0.1,
    }
    result = training.train(news_config(news, **options), "strict", tmp_path / "run")
    assert result["steps"] > 1
