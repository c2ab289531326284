"""Assertions on trees of arrays, whose messages name the entry that differs most."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

EPSILON = float(np.finfo(np.float32).eps)


class ViolationError(Exception):
    """An invariant does not hold; the message states the difference and its size.

    Attributes:
      kind: the message without its numbers, equal for the same violation at another size.
      differences: for each compared array the entries that differ, as booleans of its shape.
    """

    def __init__(
        self, message: str, kind: str = "", differences: Mapping[str, np.ndarray] | None = None
    ):
        super().__init__(message)
        self.kind = re.sub(r"[-+]?\d[\d.e+-]*", "#", kind or message)
        self.differences = differences or {}


class NotApplicableError(Exception):
    """An invariant does not apply to a cell; the message is the reason."""


def to_numpy(tree: Any) -> Any:
    """Converts the leaves of a tree to NumPy arrays."""
    return jax.tree.map(np.asarray, tree)


def named_leaves(tree: Any) -> dict[str, Any]:
    """Returns the leaves of a tree by their paths: `final state.hidden`."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}


def assert_same_structure(name: str, actual: Any, expected: Any) -> None:
    """Asserts that two trees have the same structure, shapes and dtypes."""
    if jax.tree.structure(actual) != jax.tree.structure(expected):
        raise ViolationError(
            f"{name} is {_describe_container(actual)}, expected {_describe_container(expected)}"
        )
    expected_leaves = named_leaves(expected)
    for path, leaf in named_leaves(actual).items():
        for attribute in ("shape", "dtype"):
            value = getattr(leaf, attribute)
            expected_value = getattr(expected_leaves[path], attribute)
            if value != expected_value:
                label = f"{name}.{path}" if path else name
                raise ViolationError(
                    f"{label} has the {attribute} {value}, expected {expected_value}"
                )


def assert_bits_equal(actual: dict[str, Any], expected: dict[str, Any], context: str) -> None:
    """Asserts that all leaves are bitwise identical."""
    for name, leaf in actual.items():
        values, reference = np.asarray(leaf), np.asarray(expected[name])
        if values.dtype != reference.dtype or values.tobytes() != reference.tobytes():
            raise _violation(
                name, actual, expected, _differing_bits, "not a bit may differ", context
            )


def assert_close(
    actual: dict[str, Any],
    expected: dict[str, Any],
    tolerances: dict[str, float] | None,
    context: str,
) -> float:
    """Asserts that all leaves agree up to rounding.

    Args:
      actual: leaves by name.
      expected: the same names and shapes.
      tolerances: the largest absolute difference of each leaf; None for `rounding_tolerance`.
      context: the end of the sentence that states a difference.

    Returns:
      The largest difference as a fraction of its tolerance.
    """

    def is_different(name, values, reference):
        if not jnp.issubdtype(reference.dtype, jnp.inexact):
            return values != reference
        tolerance = rounding_tolerance(reference) if tolerances is None else tolerances[name]
        return _absolute_difference(values, reference) > tolerance

    largest = 0.0
    for name, leaf in actual.items():
        values, reference = np.asarray(leaf), np.asarray(expected[name])
        if values.shape != reference.shape:
            raise ViolationError(_describe_difference(name, values, reference, "", context))
        if not jnp.issubdtype(reference.dtype, jnp.inexact):
            assert_bits_equal({name: values}, {name: reference}, context)
            continue
        tolerance = rounding_tolerance(reference) if tolerances is None else tolerances[name]
        difference = _absolute_difference(values, reference)
        if (difference > tolerance).any():
            limit = f"rounding allows {tolerance:.2g}"
            raise _violation(name, actual, expected, is_different, limit, context)
        if tolerance:
            largest = max(largest, float(difference.max(initial=0.0)) / tolerance)
    return largest


def assert_zero(actual: dict[str, Any], context: str) -> None:
    """Asserts that all leaves are exactly zero."""
    assert_equal(actual, {name: np.zeros_like(leaf) for name, leaf in actual.items()}, context)


def assert_equal(actual: dict[str, Any], expected: dict[str, Any], context: str) -> None:
    """Asserts that all leaves have equal values; zero equals minus zero."""
    for name, leaf in actual.items():
        values, reference = np.asarray(leaf), np.asarray(expected[name])
        if not np.array_equal(values, reference):
            raise _violation(name, actual, expected, _differing_values, "it must be exact", context)


def assert_finite(actual: dict[str, Any], context: str) -> None:
    """Asserts that all leaves are finite."""
    infinite = {
        name: ~np.isfinite(np.asarray(leaf))
        for name, leaf in actual.items()
        if jnp.issubdtype(np.asarray(leaf).dtype, jnp.inexact)
    }
    for name, entries in infinite.items():
        if entries.any():
            index = tuple(np.argwhere(entries)[0])
            message = (
                f"{_indexed_name(name, index)} is {np.asarray(actual[name])[index]}, expected "
                f"finite {context}"
            )
            raise ViolationError(message, f"{name} {context}", infinite)


def bits_differ(left: Any, right: Any) -> bool:
    """Returns whether two trees differ in any bit."""
    pairs = zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True)
    return any(np.asarray(a).tobytes() != np.asarray(b).tobytes() for a, b in pairs)


def rounding_tolerance(expected: np.ndarray) -> float:
    """Returns the float32 error of a few operations on values of this size.

    Each rounds by half an epsilon of its result; 64 leaves room for some hundred that do not all
    round the same way.
    """
    return 64 * EPSILON * max(float(np.abs(expected).max(initial=0.0)), 1e-3)


def _violation(
    name: str,
    actual: dict[str, Any],
    expected: dict[str, Any],
    is_different: Callable[[str, np.ndarray, np.ndarray], np.ndarray],
    limit: str,
    context: str,
) -> ViolationError:
    """Returns the violation of one leaf, with the differing entries of all that have one shape."""
    pairs = {key: (np.asarray(leaf), np.asarray(expected[key])) for key, leaf in actual.items()}
    differences = {
        key: np.asarray(is_different(key, *pair))
        for key, pair in pairs.items()
        if pair[0].shape == pair[1].shape
    }
    message = _describe_difference(name, *pairs[name], limit, context)
    return ViolationError(message, f"{name} {context}", differences)


def _differing_values(name: str, values: np.ndarray, reference: np.ndarray) -> np.ndarray:
    return values != reference


def _differing_bits(name: str, values: np.ndarray, reference: np.ndarray) -> np.ndarray:
    if values.dtype != reference.dtype:
        return np.ones(values.shape, bool)
    left, right = (
        np.frombuffer(array.tobytes(), np.uint8).reshape(*values.shape, values.itemsize)
        for array in (values, reference)
    )
    return (left != right).any(axis=-1)


def _absolute_difference(values: np.ndarray, reference: np.ndarray) -> np.ndarray:
    wide = np.complex128 if np.iscomplexobj(reference) else np.float64
    with np.errstate(invalid="ignore"):
        difference = np.abs(values.astype(wide) - reference.astype(wide))
    equal = (values == reference) | (np.isnan(values) & np.isnan(reference))
    return np.where(equal, 0.0, np.where(np.isnan(difference), np.inf, difference))


def _describe_difference(
    name: str, values: np.ndarray, reference: np.ndarray, limit: str, context: str
) -> str:
    if values.shape != reference.shape:
        return f"{name} has the shape {values.shape}, expected {reference.shape} {context}"
    difference = _absolute_difference(values, reference)
    index = tuple(int(axis) for axis in np.unravel_index(difference.argmax(), difference.shape))
    return (
        f"{_indexed_name(name, index)} is {values[index]:.7g}, expected {reference[index]:.7g} "
        f"{context} (off by {difference[index]:.2g}; {limit})"
    )


def _indexed_name(name: str, index: tuple) -> str:
    return f"{name}[{', '.join(map(str, index))}]" if index else name


def _describe_container(tree: Any) -> str:
    """Returns the outermost container of a tree as a short text."""
    fields = getattr(tree, "_fields", None)
    if isinstance(tree, tuple) and fields is not None:
        return f"{type(tree).__name__}({', '.join(fields)})"
    if isinstance(tree, tuple | list):
        return f"a {type(tree).__name__} of {len(tree)}"
    if isinstance(tree, dict):
        return f"a dict of {', '.join(map(str, tree))}"
    return "an array" if hasattr(tree, "shape") else f"a {type(tree).__name__}"
