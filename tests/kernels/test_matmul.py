"""The product of a dense layer as one product of two matrices."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.cells import LSTMCell, SimpleCell
from rnnjax.kernels import flat_dot_general, flat_matmul
from rnnjax.layers import RNN
from rnnjax.models.vocabulary_output import VocabularyOutput

BATCH, TIME, INPUTS, UNITS = 32, 64, 128, 512


@pytest.mark.parametrize("axes", [(), (3,), (2, 3), (2, 3, 5), (0, 3)])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_dense_layer_and_gradients_equal_flax(axes, dtype):
    inputs = jax.random.normal(jax.random.key(0), (*axes, 7))
    flat = nn.Dense(4, dtype=dtype, dot_general=flat_dot_general)
    plain = nn.Dense(4, dtype=dtype)
    params = flat.init(jax.random.key(1), inputs)

    def loss(layer, params, inputs):
        outputs = layer.apply(params, inputs)
        return jnp.sum(jnp.sin(outputs.astype(jnp.float32))), outputs

    value = jax.value_and_grad(loss, argnums=(1, 2), has_aux=True)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
        jax.tree.map(lambda leaf: leaf.astype(jnp.float32), value(flat, params, inputs)),
        jax.tree.map(lambda leaf: leaf.astype(jnp.float32), value(plain, params, inputs)),
    )


def _transposes_gradients(outputs: Any, kernels: Any, inputs: Any) -> bool:
    """Whether the gradients of the outputs are transposed on the way to those of the kernels."""

    def loss(kernels, inputs):
        return jnp.sum(jnp.sin(outputs(kernels, inputs)))

    text: Any = jax.jit(jax.grad(loss)).lower(kernels, inputs).compile().as_text()
    return f"f32[{UNITS},{BATCH * TIME}]" in text or f"f32[{UNITS},{BATCH},{TIME}]" in text


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="it is for XLA on a CPU")
def test_xla_does_not_transpose_output_gradients():
    def plain(kernel, inputs):
        return inputs @ kernel

    def flat(kernel, inputs):
        return flat_matmul(inputs, kernel)

    def embedding_logits(table, inputs):
        return VocabularyOutput(UNITS, use_bias=False).apply({}, inputs, table)

    def recurrent_product(kernel, states):
        return SimpleCell(UNITS).recurrent_product(states, kernel)

    layer = RNN(LSTMCell(UNITS // 4))

    def layer_outputs(params, inputs):
        outputs: Any = layer.apply(params, inputs)
        return outputs[1]

    inputs, kernel = jnp.zeros((BATCH, TIME, INPUTS)), jnp.zeros((INPUTS, UNITS))
    params = jax.eval_shape(layer.init, jax.random.key(0), inputs)
    assert _transposes_gradients(plain, kernel, inputs)
    assert not _transposes_gradients(flat, kernel, inputs)
    assert _transposes_gradients(lambda table, inputs: inputs @ table.T, kernel.T, inputs)
    assert not _transposes_gradients(embedding_logits, kernel.T, inputs)
    assert not _transposes_gradients(recurrent_product, kernel, inputs)
    assert not _transposes_gradients(layer_outputs, params, inputs)
