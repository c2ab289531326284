"""Assertions on trees of arrays: messages of differences, and trees that pass."""

import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.cells import LSTMCell
from rnnjax.testing.assertions import (
    ViolationError,
    assert_bits_equal,
    assert_close,
    assert_finite,
    assert_same_structure,
    assert_zero,
    bits_differ,
    named_leaves,
)

A = np.array([1.0, 2.0, 4.0], np.float32)
B = np.array([1.0, 2.5, 4.25], np.float32)
NAN = np.array([1.0, np.nan, 4.0], np.float32)


@pytest.mark.parametrize(
    ("assertion", "message"),
    [
        (lambda: assert_close({"x": A}, {"x": B}, {"x": 0.4}, "today"), "x[1] is 2, expected 2.5"),
        (lambda: assert_close({"x": A}, {"x": B}, {"x": 0.4}, "today"), "today (off by 0.5; roun"),
        (lambda: assert_close({"x": A}, {"x": NAN}, {"x": 9.0}, ""), "x[1] is 2, expected nan"),
        (lambda: assert_close({"x": NAN}, {"x": A}, {"x": 9.0}, ""), "x[1] is nan, expected 2"),
        (lambda: assert_close({"x": A + 1j}, {"x": A + 0j}, {"x": 0.5}, ""), "off by 1"),
        (lambda: assert_close({"x": A[:2]}, {"x": A}, {"x": 9.0}, ""), "shape (2,), expected (3,)"),
        (lambda: assert_close({"x": np.arange(3)}, {"x": np.ones(3, int)}, {}, ""), "x[0] is 0"),
        (lambda: assert_close({"x": A * (1 + 2e-5)}, {"x": A}, None, ""), "x[2]"),
        (lambda: assert_bits_equal({"x": A}, {"x": B}, ""), "not a bit"),
        (lambda: assert_zero({"x": A}, ""), "x[2] is 4, expected 0"),
        (lambda: assert_finite({"x": NAN}, "today"), "x[1] is nan, expected finite today"),
        (lambda: assert_finite({"x": NAN.astype(jnp.bfloat16)}, ""), "x[1] is nan"),
        (lambda: assert_same_structure("s", (A, A), [A, A]), "a tuple of 2, expected a list of 2"),
        (lambda: assert_same_structure("s", {"a": A}, {"a": 1j * A}), "s.a has the dtype float32"),
        (lambda: assert_same_structure("s", A[:2], A), "s has the shape (2,), expected (3,)"),
    ],
)
def test_difference_raises_with_entry_and_size(assertion, message):
    with pytest.raises(ViolationError) as error:
        assertion()
    assert message in str(error.value)


def test_equal_trees_pass():
    assert assert_close({"x": A}, {"x": B}, {"x": 1.0}, "") == 0.5
    assert assert_close({"x": NAN}, {"x": NAN.copy()}, {"x": 1.0}, "") == 0.0
    assert_close({"x": A * (1 + 1e-6)}, {"x": A}, None, "")
    assert_close({"x": A.astype(jnp.bfloat16)}, {"x": B.astype(jnp.bfloat16)}, {"x": 1.0}, "")
    assert_bits_equal({"x": NAN}, {"x": NAN.copy()}, "")
    assert_zero({"x": 0 * A}, "")
    assert_finite({"x": A, "n": np.arange(3)}, "")
    assert_same_structure("s", {"a": A}, {"a": B})


def test_bits_differ_compares_bits():
    assert bits_differ(A, B)
    assert not bits_differ((A, B), (A.copy(), B))
    assert bits_differ(np.zeros(1), -np.zeros(1))


def test_leaves_are_named_by_their_paths():
    assert list(named_leaves({"s": LSTMCell(4).initial_state((1, 3))})) == ["s.hidden", "s.cell"]
