"""Matrix products over any number of leading axes, flattened to one."""

import math
from typing import Any

import jax
from jaxtyping import Array, Float


def flat_matmul(
    inputs: Float[Array, "*batch inputs"],
    kernel: Float[Array, "_ _"],
    axis: int = 0,
    **options: Any,
) -> Float[Array, "*batch units"]:
    """Returns `inputs @ kernel` as one product of two matrices.

    It is the gradient of the kernel that is faster on a CPU: where the inputs have more than one
    leading axis, XLA copies the gradients of all outputs, transposed, and multiplies in a slower
    order; together it takes several times as long. Under `jax.vmap` over the kernel it still does.

    Args:
      inputs: of all steps, for example.
      kernel: `[inputs, units]`, or `[units, inputs]` with `axis=1`.
      axis: axis of the kernel to sum over.
      options: as for `jax.lax.dot_general`.
    """
    rows = inputs.reshape(math.prod(inputs.shape[:-1]), inputs.shape[-1])
    product = jax.lax.dot_general(rows, kernel, (((1,), (axis,)), ((), ())), **options)
    return product.reshape(*inputs.shape[:-1], product.shape[-1])


def flat_dot_general(
    inputs: Float[Array, "*batch inputs"],
    kernel: Float[Array, "inputs units"],
    dimension_numbers: jax.lax.DotDimensionNumbers,
    **options: Any,
) -> Float[Array, "*batch units"]:
    """Returns `flat_matmul(inputs, kernel)`, for the `dot_general` of `flax.linen.Dense`."""
    assert dimension_numbers == (((inputs.ndim - 1,), (0,)), ((), ())), dimension_numbers
    return flat_matmul(inputs, kernel, **options)
