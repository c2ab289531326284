"""What differs between two trees of arrays, where, and by how much."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

EPSILON = float(np.finfo(np.float32).eps)


class BrokenError(Exception):
    """An invariant does not hold: the message says what differs, and by how much."""


class SkippedError(Exception):
    """An invariant says nothing about this cell: the message is the reason."""


def host(tree: Any) -> Any:
    """Returns a tree in NumPy arrays."""
    return jax.tree.map(np.asarray, tree)


def named(tree: Any) -> dict[str, Any]:
    """Returns the leaves of a tree by their paths: `final state.hidden`."""
    found = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in found}


def require_same_structure(what: str, found: Any, expected: Any) -> None:
    """Breaks if two trees are not built alike, of the same shapes and dtypes."""
    one, other = jax.tree.structure(found), jax.tree.structure(expected)
    if one != other:
        raise BrokenError(f"{what} is {_built(found)}, expected {_built(expected)}")
    for name, leaf in named(found).items():
        wanted = named(expected)[name]
        where = f"{what}.{name}" if name else what
        for kind in ("shape", "dtype"):
            is_, should = getattr(leaf, kind), getattr(wanted, kind)
            if is_ != should:
                raise BrokenError(f"{where} has the {kind} {is_}, expected {should}")


def require_same_bits(found: dict[str, Any], expected: dict[str, Any], because: str) -> None:
    """Breaks unless every leaf has the very same bits."""
    for name, leaf in found.items():
        one, other = np.asarray(leaf), np.asarray(expected[name])
        if one.dtype != other.dtype or one.tobytes() != other.tobytes():
            raise BrokenError(_worst(name, one, other, "not a bit may differ", because))


def require_close(
    found: dict[str, Any], expected: dict[str, Any], allowed: dict[str, float] | None, because: str
) -> float:
    """Breaks unless every leaf is as expected, but for rounding.

    Args:
      found: leaves by name.
      expected: the same names and shapes.
      allowed: how far each leaf may be off; None for what `rounding` allows it.
      because: ends the sentence that says what differs.

    Returns:
      The largest difference, as a part of what is allowed.
    """
    largest = 0.0
    for name, leaf in found.items():
        one, other = np.asarray(leaf), np.asarray(expected[name])
        if one.shape != other.shape:
            raise BrokenError(f"{name} has the shape {one.shape}, expected {other.shape} {because}")
        if not jnp.issubdtype(other.dtype, jnp.inexact):
            require_same_bits({name: one}, {name: other}, because)
            continue
        limit = rounding(other) if allowed is None else allowed[name]
        off = _off(one, other)
        if (off > limit).any():
            raise BrokenError(_worst(name, one, other, f"rounding allows {limit:.2g}", because))
        largest = max(largest, float(off.max(initial=0.0)) / limit if limit else 0.0)
    return largest


def require_zero(found: dict[str, Any], because: str) -> None:
    """Breaks unless every leaf is zero everywhere."""
    for name, leaf in found.items():
        one = np.asarray(leaf)
        if (one != 0).any():
            raise BrokenError(_worst(name, one, np.zeros_like(one), "it must be exact", because))


def require_equal(found: dict[str, Any], expected: dict[str, Any], because: str) -> None:
    """Breaks unless every leaf has the very same values; zero and minus zero are the same."""
    for name, leaf in found.items():
        one, other = np.asarray(leaf), np.asarray(expected[name])
        if not np.array_equal(one, other):
            raise BrokenError(_worst(name, one, other, "it must be exact", because))


def require_finite(found: dict[str, Any], because: str) -> None:
    """Breaks if a leaf has a value that is not finite."""
    for name, leaf in found.items():
        one = np.asarray(leaf)
        if jnp.issubdtype(one.dtype, jnp.inexact) and not np.isfinite(one).all():
            index = tuple(np.argwhere(~np.isfinite(one))[0])
            raise BrokenError(f"{_at(name, index)} is {one[index]}, expected finite {because}")


def differ(found: Any, expected: Any) -> bool:
    """Returns whether two trees differ in any bit."""
    pairs = zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True)
    return any(np.asarray(one).tobytes() != np.asarray(other).tobytes() for one, other in pairs)


def rounding(expected: np.ndarray) -> float:
    """Returns what float32 may be off after a few operations on values of this size.

    Each rounds by half an epsilon of its result; 64 leaves room for some hundred that do not all
    round the same way.
    """
    return 64 * EPSILON * max(float(np.abs(expected).max(initial=0.0)), 1e-3)


def _off(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    wide = np.complex128 if np.iscomplexobj(other) else np.float64
    with np.errstate(invalid="ignore"):
        off = np.abs(one.astype(wide) - other.astype(wide))
    same = (one == other) | (np.isnan(one) & np.isnan(other))
    return np.where(same, 0.0, np.where(np.isnan(off), np.inf, off))


def _worst(name: str, one: np.ndarray, other: np.ndarray, limit: str, because: str) -> str:
    if one.shape != other.shape:
        return f"{name} has the shape {one.shape}, expected {other.shape} {because}"
    off = _off(one, other)
    index = tuple(int(each) for each in np.unravel_index(off.argmax(), off.shape))
    size = off[index]
    return (
        f"{_at(name, index)} is {one[index]:.7g}, expected {other[index]:.7g} {because} "
        f"(off by {size:.2g}; {limit})"
    )


def _at(name: str, index: tuple) -> str:
    return f"{name}[{', '.join(map(str, index))}]" if index else name


def _built(tree: Any) -> str:
    """Returns how a tree is built, as a short text."""
    fields = getattr(tree, "_fields", None)
    if isinstance(tree, tuple) and fields is not None:
        return f"{type(tree).__name__}({', '.join(fields)})"
    if isinstance(tree, tuple | list):
        return f"a {type(tree).__name__} of {len(tree)}"
    if isinstance(tree, dict):
        return f"a dict of {', '.join(map(str, tree))}"
    return "an array" if hasattr(tree, "shape") else f"a {type(tree).__name__}"
