"""Keys of a part of a batch: draws are these rows of the whole batch's draw, bit for bit."""

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax.kernels.row_keys import batch_key, row_key

KEY = jax.random.fold_in(jax.random.key(5), 7)
PARTS, ROWS = 3, 4


def draw_all(key, rows):
    """Draws by keys that are folded in, split off and scanned over."""
    first, second, third = jax.random.split(jax.random.fold_in(key, 3), 3)

    def draw_step(carry, step_key):
        return carry, jax.random.uniform(step_key, (rows, 2))

    _, steps = jax.lax.scan(draw_step, 0, jax.random.split(third, 5))
    return (
        jax.random.bernoulli(first, 0.3, (rows, 5, 3)),
        jax.random.normal(second, (rows, 1, 7)),
        jax.random.bits(second, (rows, 3), "uint8"),
        jax.random.bits(second, (rows,), "uint16"),
        jnp.moveaxis(steps, 1, 0),
    )


def test_draws_are_rows_of_the_whole_draw():
    expected = draw_all(KEY, PARTS * ROWS)
    draw_part = jax.jit(lambda part: draw_all(row_key(KEY, part), ROWS))
    parts = [draw_part(jnp.int32(part)) for part in range(PARTS)]
    for whole, *pieces in zip(expected, *parts, strict=True):
        np.testing.assert_array_equal(np.concatenate(pieces), whole)
        assert not np.array_equal(pieces[0], pieces[1])


def test_draw_of_the_whole_batch_is_the_same_in_each_part():
    expected = jax.random.normal(jax.random.fold_in(KEY, 1), (6, 2))
    for part in range(PARTS):
        key = batch_key(jax.random.fold_in(row_key(KEY, jnp.int32(part)), 1))
        np.testing.assert_array_equal(jax.random.normal(key, (6, 2)), expected)
    assert batch_key(KEY) is KEY
