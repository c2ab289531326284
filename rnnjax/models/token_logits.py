"""Output layers over a vocabulary: products in a lower precision, summed in float32."""

import functools
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from rnnjax.kernels import flat_dot_general, flat_matmul


def dense(vocabulary: int, dtype: Any, **options: Any) -> nn.Dense:
    """Returns a layer that multiplies in `dtype` and sums in float32; options are of `nn.Dense`."""
    summed = functools.partial(flat_dot_general, preferred_element_type=jnp.float32)
    return nn.Dense(vocabulary, dtype=dtype, dot_general=summed, **options)


def attend(
    embed: nn.Embed, vectors: Float[Array, "*batch features"]
) -> Float[Array, "*batch vocabulary"]:
    """Returns the logits of vectors for a tied embedding, in the same precision."""
    table = jnp.asarray(embed.embedding, embed.dtype)
    vectors = vectors.astype(table.dtype)
    return flat_matmul(vectors, table, axis=1, preferred_element_type=jnp.float32)
