"""Masks of padded sequences."""

import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Int

from rnnjax.errors import InputError


def mask_from_lengths(lengths: Int[Array, " batch"], time: int) -> Bool[Array, "batch time"]:
    """Returns the mask of right-padded rows: True at the first steps of a row, as many as it has.

    Lengths are `seq_lengths` in flax and `lengths` of packed sequences in PyTorch.

    Args:
      lengths: number of real steps of each row, from 0 to `time`.
      time: steps of the padded rows.

    Raises:
      InputError: the lengths are not integers of the shape `[batch]`, or, outside of `jax.jit`, out
        of range.
    """
    lengths = jnp.asarray(lengths)
    if lengths.ndim != 1 or not jnp.issubdtype(lengths.dtype, jnp.integer):
        raise InputError(
            f"lengths: given {lengths.dtype}{list(lengths.shape)}, expected whole numbers [batch], "
            "one for each row"
        )
    if not isinstance(lengths, Tracer) and ((lengths < 0) | (lengths > time)).any():
        raise InputError(
            f"lengths: given {lengths.min()} to {lengths.max()}, expected 0 to time = {time}"
        )
    return jnp.arange(time, dtype=jnp.int32)[None] < lengths.astype(jnp.int32)[:, None]


def last_output(
    outputs: Float[Array, "batch time ..."],
    mask: Bool[Array, "batch time"] | None,
    reverse: bool = False,
) -> Float[Array, "batch ..."]:
    """Returns each row's output at the real step that is read last.

    Args:
      outputs: zero at masked steps: of a row with no real step any is taken.
      mask: True where the step is real; None if all are.
      reverse: whether steps are read from the last to the first.
    """
    if mask is None:
        return outputs[:, 0 if reverse else -1]
    time = mask.shape[1]
    index = jnp.argmax(mask, axis=1) if reverse else time - 1 - jnp.argmax(mask[:, ::-1], axis=1)
    index = index.reshape((-1, 1) + (1,) * (outputs.ndim - 2))
    return jnp.take_along_axis(outputs, index, axis=1)[:, 0]
