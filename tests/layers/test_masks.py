"""Masks from the lengths of rows."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.errors import InputError
from rnnjax.layers import mask_from_lengths


@pytest.mark.parametrize("lengths", [[3, 0, 4], np.array([3, 0, 4], np.uint8)])
def test_row_is_valid_up_to_its_length(lengths):
    mask = mask_from_lengths(lengths, 4)
    expected = ["###.", "....", "####"]
    assert mask.dtype == bool
    assert ["".join(".#"[int(step)] for step in row) for row in mask] == expected


def test_lengths_may_be_traced():
    mask = jax.jit(lambda lengths: mask_from_lengths(lengths, 3))(np.array([2, 1]))
    np.testing.assert_array_equal(mask, mask_from_lengths(jnp.array([2, 1]), 3))


FLOATS: Any = [1.0, 2.0]


@pytest.mark.parametrize(
    ("lengths", "words"),
    [
        (FLOATS, r"given float32\[2\], expected whole numbers \[batch\]"),
        (np.ones((2, 1), int), r"given int32\[2, 1\]"),
        ([1, 5], "given 1 to 5, expected 0 to time = 4"),
        ([-1, 2], "given -1 to 2"),
    ],
)
def test_invalid_lengths_raise(lengths, words):
    with pytest.raises(InputError, match=words):
        mask_from_lengths(lengths, 4)
