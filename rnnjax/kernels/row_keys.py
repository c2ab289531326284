"""Random keys of a part of a batch: its draws are those of these rows in the whole batch.

A device that computes some rows of a batch needs the dropout of these rows, the same bits as on
one device. JAX's threefry numbers the elements of a draw and hashes each number for itself
(`jax_threefry_partitionable`), so that a part of a draw costs no more than its elements.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import random as random_impls


def row_key(key: jax.Array, part: jax.Array) -> jax.Array:
    """Returns a key whose draws are those of `key` for one of several equal parts of the rows.

    A draw of the shape `[rows, ...]` is the rows `part * rows` to `(part + 1) * rows` of a draw by
    `key`, bit for bit, if that has fewer than 2**32 elements. Keys that are split off or folded in
    are those of `key` for the same part.

    Args:
      key: a threefry key of `jax.random.key`.
      part: int32 index of the part, which may be traced.
    """
    words = jnp.append(jax.random.key_data(key), part.astype(jnp.uint32))
    return jax.random.wrap_key_data(words, impl=_ROWS)


def batch_key(key: jax.Array) -> jax.Array:
    """Returns a key for a draw that all rows of a batch share, of weights say.

    Args:
      key: of `row_key`, of which the key of the whole batch is returned, or any other, which is
        returned as it is.
    """
    if jax.random.key_impl(key) != _ROWS:
        return key
    return jax.random.wrap_key_data(jax.random.key_data(key)[..., :2], impl="threefry2x32")


def _seed(seed: jax.Array) -> jax.Array:
    return jnp.append(_threefry.seed(seed), np.uint32(0))


def _split(words: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    keys = jax.random.key_data(jax.random.split(_plain(words), shape))
    return jnp.concatenate([keys, jnp.broadcast_to(words[2:], (*shape, 1))], axis=-1)


def _fold_in(words: jax.Array, data: int) -> jax.Array:
    return jnp.append(jax.random.key_data(jax.random.fold_in(_plain(words), data)), words[2])


def _random_bits(words: jax.Array, bit_width: int, shape: tuple[int, ...]) -> jax.Array:
    size = math.prod(shape)
    index = jax.lax.iota(np.uint32, size) + words[2] * np.uint32(size % 2**32)
    high, low = random_impls.threefry2x32_p.bind(
        *(jnp.broadcast_to(word, index.shape) for word in (words[0], words[1])),
        jnp.zeros_like(index),
        index,
    )
    if bit_width == 64:
        return (high.astype(np.uint64) << np.uint64(32) | low).reshape(shape)
    return (high ^ low).astype(f"uint{bit_width}").reshape(shape)


def _plain(words: jax.Array) -> jax.Array:
    return jax.random.wrap_key_data(words[:2], impl="threefry2x32")


_threefry = random_impls.threefry_prng_impl
_ROWS = random_impls.define_prng_impl(
    key_shape=(3,),
    seed=_seed,
    split=_split,
    random_bits=_random_bits,
    fold_in=_fold_in,
    name="threefry2x32_rows",
    tag="rows",
)
