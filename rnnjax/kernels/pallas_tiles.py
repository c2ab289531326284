"""Tiling, size limit and launch of the Pallas kernels that run a whole sequence on a GPU."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton
from jaxtyping import Array, Bool, Float

from rnnjax.errors import InputError

ROWS = 16
"""Rows of the batch in one tile: the fewest that a product takes, so that all cores get some."""

CHIP = 2**17
"""Bytes of a core's memory that recurrent kernels may take; an A100 has 163 KiB, an H100 227."""


def tile_width(features: int) -> int:
    """Rounds a number of features up to a tile's: Triton's sizes are powers of two from 16."""
    return max(16, 1 << (features - 1).bit_length())


def pad_features(values: jax.Array, *axes: int) -> jax.Array:
    """Pads axes of features with zeros to the width of a tile."""
    edges = [(0, 0)] * values.ndim
    for axis in axes:
        edges[axis] = (0, tile_width(values.shape[axis]) - values.shape[axis])
    return jnp.pad(values, edges)


def pad_to_tiles(values: Float[Array, "batch ... features"]) -> Float[Array, "rows ... width"]:
    """Pads the rows and the features of a batch with zeros to whole tiles."""
    rows = (0, -values.shape[0] % ROWS)
    return jnp.pad(pad_features(values, -1), [rows] + [(0, 0)] * (values.ndim - 1))


def split_gates(
    values: Float[Array, "... units"], gates: int
) -> Float[Array, "... gates features"]:
    """Splits the last axis, several gates side by side, into gates and features."""
    return values.reshape(*values.shape[:-1], gates, -1)


def load_kernel(
    kernel: Float[Array, "features units"], gates: int, dtype: Any
) -> Float[Array, "width gates width"]:
    """Pads and casts the recurrent kernels of the gates for the shared memory of a core.

    Raises:
      InputError: they do not fit there.
    """
    features, dtype = kernel.shape[0], jnp.dtype(dtype)
    most = 1 << (math.isqrt(CHIP // (gates * dtype.itemsize)).bit_length() - 1)
    if features > most:
        raise InputError(
            f"engine 'pallas': given {features} features in {dtype}, expected at most {most}, of "
            f"which a recurrent kernel of {gates} gates stays on the chip; take another engine"
        )
    return pad_features(split_gates(kernel, gates), 0, 2).astype(dtype)


def mask_as_int(mask: Bool[Array, "batch time"] | None, shape: tuple[int, ...]) -> jax.Array:
    """Converts a mask to int32 `[rows, time]`; rows that pad a tile have no real step.

    Args:
      mask: True where a step is real; None if all are.
      shape: of the sequences, `(batch, time, ...)`.
    """
    step_mask = jnp.ones(shape[:2], jnp.int32) if mask is None else mask.astype(jnp.int32)
    return jnp.pad(step_mask, ((0, -shape[0] % ROWS), (0, 0)))


def accumulation_dtype(dtype: Any) -> Any:
    """Returns the dtype in which products of a dtype are accumulated: at least float32."""
    return np.promote_types(dtype, np.float32)


def product(
    rows: jax.Array, kernel: jax.Array, transposed: bool = False
) -> Float[Array, "rows width"]:
    """Returns the product of a tile with a kernel in the kernel's dtype, summed in `wide` of it.

    Args:
      rows: `[rows, width]`.
      kernel: `[width, width]`.
      transposed: multiply by the transposed kernel, as the backward pass does.
    """
    return jax.lax.dot_general(
        rows.astype(kernel.dtype),
        kernel,
        (((1,), (int(transposed),)), ((), ())),
        preferred_element_type=accumulation_dtype(kernel.dtype),
    )


def launch(
    steps: Callable[..., None],
    broadcast: Sequence[jax.Array],
    batched: Sequence[jax.Array],
    outputs: Sequence[jax.Array | jax.ShapeDtypeStruct],
) -> Any:
    """Runs a Pallas kernel once per tile of the batch, compiled by Triton for an NVIDIA GPU.

    On a CPU the same kernel is interpreted: for tests, not for speed.

    Args:
      steps: the kernel. Its arguments are references to all of the following, in this order.
      broadcast: arrays that every tile reads in full.
      batched: arrays whose first axis is cut into tiles.
      outputs: shapes and dtypes of the results, whose first axis is cut in the same way.

    Returns:
      The results.
    """

    def full(array):
        return pl.BlockSpec(array.shape, lambda _: (0,) * array.ndim)

    def tile(array):
        return pl.BlockSpec(
            (ROWS, *array.shape[1:]), lambda index: (index, *[0] * (len(array.shape) - 1))
        )

    def call(interpret):
        return pl.pallas_call(
            steps,
            out_shape=[jax.ShapeDtypeStruct(array.shape, array.dtype) for array in outputs],
            grid=(batched[0].shape[0] // ROWS,),
            in_specs=[*map(full, broadcast), *map(tile, batched)],
            out_specs=[*map(tile, outputs)],
            compiler_params=triton.CompilerParams(
                num_warps=4 if broadcast[0].shape[0] <= 64 else 8, num_stages=1
            ),
            interpret=interpret,
        )

    return jax.lax.platform_dependent(*broadcast, *batched, cpu=call(True), cuda=call(False))
