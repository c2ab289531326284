"""The product of a dense layer, for any number of leading axes at once."""

import math
from typing import Any

import jax
from jaxtyping import Array, Float


def flat_dot_general(
    inputs: Float[Array, "*batch inputs"],
    kernel: Float[Array, "inputs units"],
    dimension_numbers: jax.lax.DotDimensionNumbers,
    **options: Any,
) -> Float[Array, "*batch units"]:
    """Returns the product over the last axis of the inputs, as one product of two matrices.

    The same as `jax.lax.dot_general`, to be given to `flax.linen.Dense` as its `dot_general`. What
    differs is the gradient of the kernel on a CPU: where the inputs have more than one leading
    axis, XLA copies the gradients of all outputs, transposed, and multiplies in an order that is
    slower; together it takes several times as long. Under `jax.vmap` over the kernel it still does.

    Args:
      inputs: those of all steps, say.
      kernel: of the layer.
      dimension_numbers: those of `flax.linen.Dense`: the last axis of the inputs with the first of
        the kernel, and no axis that both have.
      options: as for `jax.lax.dot_general`.
    """
    rows = inputs.reshape(math.prod(inputs.shape[:-1]), inputs.shape[-1])
    (_, contracted), both = dimension_numbers
    product = jax.lax.dot_general(rows, kernel, (((1,), contracted), both), **options)
    return product.reshape(*inputs.shape[:-1], *product.shape[1:])
