"""What the GPU kernels of whole sequences share: their tiles, their limit and their launch."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton
from jaxtyping import Array, Bool, Float

from rnnjax.errors import InputError

ROWS = 16
"""Rows of the batch in one tile: the fewest that a product takes, so that all cores get some."""

CHIP = 2**17
"""Bytes of a core's memory that recurrent kernels may take; an A100 has 163 KiB, an H100 227."""


def width(features: int) -> int:
    """Returns the features of a tile: Triton's sizes are powers of two, of at least 16."""
    return max(16, 1 << (features - 1).bit_length())


def widened(values: jax.Array, *axes: int) -> jax.Array:
    """Returns values with zeros added along axes of features, to the width of a tile."""
    edges = [(0, 0)] * values.ndim
    for axis in axes:
        edges[axis] = (0, width(values.shape[axis]) - values.shape[axis])
    return jnp.pad(values, edges)


def tiled(values: Float[Array, "batch ... features"]) -> Float[Array, "rows ... width"]:
    """Returns values of a batch with zeros added, in rows and in features, to fill the tiles."""
    rows = (0, -values.shape[0] % ROWS)
    return jnp.pad(widened(values, -1), [rows] + [(0, 0)] * (values.ndim - 1))


def gated(values: Float[Array, "... units"], gates: int) -> Float[Array, "... gates features"]:
    """Returns what stands side by side for several gates with an axis for the gates."""
    return values.reshape(*values.shape[:-1], gates, -1)


def load_kernel(
    kernel: Float[Array, "features units"], gates: int, dtype: Any
) -> Float[Array, "width gates width"]:
    """Returns the recurrent kernels of the gates as a tile holds them on the chip.

    Raises:
      InputError: they are too large for it.
    """
    features, dtype = kernel.shape[0], jnp.dtype(dtype)
    most = 1 << (math.isqrt(CHIP // (gates * dtype.itemsize)).bit_length() - 1)
    if features > most:
        raise InputError(
            f"engine 'pallas': given {features} features in {dtype}, expected at most {most}, of "
            f"which a recurrent kernel of {gates} gates stays on the chip; take another engine"
        )
    return widened(gated(kernel, gates), 0, 2).astype(dtype)


def flags(mask: Bool[Array, "batch time"] | None, shape: tuple[int, ...]) -> jax.Array:
    """Returns the mask as numbers, `[rows, time]`; the rows that fill the tiles have no real step.

    Args:
      mask: True where a step is real; None if all are.
      shape: of the sequences, `(batch, time, ...)`.
    """
    real = jnp.ones(shape[:2], jnp.int32) if mask is None else mask.astype(jnp.int32)
    return jnp.pad(real, ((0, -shape[0] % ROWS), (0, 0)))


def wide(dtype: Any) -> Any:
    """Returns the dtype in which products of this one are summed, and what is between them."""
    return jnp.promote_types(dtype, jnp.float32)


def product(
    rows: jax.Array, kernel: jax.Array, of_columns: bool = False
) -> Float[Array, "rows width"]:
    """Returns the product of a tile with a kernel in the kernel's dtype, summed in `wide` of it.

    Args:
      rows: `[rows, width]`.
      kernel: `[width, width]`.
      of_columns: with the kernel transposed, as the backward pass has it.
    """
    return jax.lax.dot_general(
        rows.astype(kernel.dtype),
        kernel,
        (((1,), (int(of_columns),)), ((), ())),
        preferred_element_type=wide(kernel.dtype),
    )


def launch(
    steps: Callable[..., None],
    shared: Sequence[jax.Array],
    batched: Sequence[jax.Array],
    returned: Sequence[jax.Array | jax.ShapeDtypeStruct],
) -> Any:
    """Runs a kernel once for every tile of the batch, compiled by Triton for an NVIDIA GPU.

    On a CPU the same kernel is interpreted: for tests, not for speed.

    Args:
      steps: the kernel. It is given references to all of the following, in this order.
      shared: arrays that every tile reads whole.
      batched: arrays whose first axis is cut into tiles.
      returned: what has the shape and dtype of each result; its first axis is cut in the same way.

    Returns:
      The results.
    """

    def whole(array):
        return pl.BlockSpec(array.shape, lambda _: (0,) * array.ndim)

    def tile(array):
        return pl.BlockSpec(
            (ROWS, *array.shape[1:]), lambda index: (index, *[0] * (len(array.shape) - 1))
        )

    def call(interpret):
        return pl.pallas_call(
            steps,
            out_shape=[jax.ShapeDtypeStruct(each.shape, each.dtype) for each in returned],
            grid=(batched[0].shape[0] // ROWS,),
            in_specs=[*map(whole, shared), *map(tile, batched)],
            out_specs=[*map(tile, returned)],
            compiler_params=triton.CompilerParams(
                num_warps=4 if shared[0].shape[0] <= 64 else 8, num_stages=1
            ),
            interpret=interpret,
        )

    return jax.lax.platform_dependent(*shared, *batched, cpu=call(True), cuda=call(False))
