"""Which token comes next: what is summed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.tasks.token_metrics import is_most_probable


@pytest.mark.parametrize("shape", [(5,), (4, 3), (2, 4, 7)])
def test_a_token_is_the_most_probable_as_argmax_has_it_also_among_equals(shape):
    *_, size = shape
    # Few different scores, so that most rows hold the greatest more than once.
    for key in jax.random.split(jax.random.key(0), 20):
        logits = jnp.round(jax.random.normal(key, shape))
        for token in range(size):
            targets = jnp.full(shape[:-1], token)
            found = jax.jit(is_most_probable)(logits, targets)
            np.testing.assert_array_equal(found, jnp.argmax(logits, axis=-1) == targets)


def test_what_is_not_a_number_is_never_the_most_probable():
    logits = jnp.array([[jnp.nan, 1.0], [1.0, jnp.nan], [jnp.nan, jnp.nan]])
    for token in range(2):
        assert not is_most_probable(logits, jnp.full(3, token)).any()


def test_an_infinite_score_counts():
    logits = jnp.array([[-jnp.inf, 0.0, -jnp.inf], [jnp.inf, 0.0, jnp.inf]])
    np.testing.assert_array_equal(is_most_probable(logits, jnp.array([1, 0])), [True, True])
    np.testing.assert_array_equal(is_most_probable(logits, jnp.array([0, 2])), [False, False])
