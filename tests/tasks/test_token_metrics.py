"""Accuracy of next-token prediction: ties, NaN and infinity."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.tasks.token_metrics import is_most_probable


@pytest.mark.parametrize("shape", [(5,), (4, 3), (2, 4, 7)])
def test_is_most_probable_equals_argmax_with_ties(shape):
    *_, size = shape
    # Rounded, so that most rows have several maxima.
    for key in jax.random.split(jax.random.key(0), 20):
        logits = jnp.round(jax.random.normal(key, shape))
        for token in range(size):
            targets = jnp.full(shape[:-1], token)
            result = jax.jit(is_most_probable)(logits, targets)
            np.testing.assert_array_equal(result, jnp.argmax(logits, axis=-1) == targets)


def test_nan_is_never_most_probable():
    logits = jnp.array([[jnp.nan, 1.0], [1.0, jnp.nan], [jnp.nan, jnp.nan]])
    for token in range(2):
        assert not is_most_probable(logits, jnp.full(3, token)).any()


def test_infinite_logits_are_compared():
    logits = jnp.array([[-jnp.inf, 0.0, -jnp.inf], [jnp.inf, 0.0, jnp.inf]])
    np.testing.assert_array_equal(is_most_probable(logits, jnp.array([1, 0])), [True, True])
    np.testing.assert_array_equal(is_most_probable(logits, jnp.array([0, 2])), [False, False])
