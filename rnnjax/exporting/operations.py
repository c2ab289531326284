"""The operations of JAX that an exported program may use, computed by NumPy alone.

An exported folder has a copy of this file beside `run.py`. Operations have the names and parameters
of their JAX primitives, https://docs.jax.dev/en/latest/jax.lax.html; those that XLA defines are as
in its specification, https://openxla.org/xla/operation_semantics.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

DTYPES = {
    **{"BOOL": "bool", "U8": "uint8", "U16": "uint16", "U32": "uint32", "U64": "uint64"},
    **{"I8": "int8", "I16": "int16", "I32": "int32", "I64": "int64"},
    **{"F16": "float16", "F32": "float32", "F64": "float64", "C64": "complex64"},
}
"""The types of numbers by their names in safetensors."""


def scan(*values, jaxpr, length, reverse, num_consts, num_carry):
    """Runs a program for each step, and stacks the outputs of all steps."""
    constants, rest = values[:num_consts], values[num_consts:]
    carry, inputs = list(rest[:num_carry]), rest[num_carry:]
    stacks: list[Any] = []
    for step in reversed(range(length)) if reverse else range(length):
        results = jaxpr(*constants, *carry, *(array[step] for array in inputs))
        carry, outputs = results[:num_carry], results[num_carry:]
        if not stacks:
            stacks = [np.empty((length, *np.shape(out)), np.asarray(out).dtype) for out in outputs]
        for stack, output in zip(stacks, outputs, strict=True):
            stack[step] = output
    return [*carry, *stacks]


def while_loop(*values, cond_jaxpr, cond_nconsts, body_jaxpr, body_nconsts):
    """Runs a program as long as a condition holds."""
    conditions, rest = values[:cond_nconsts], values[cond_nconsts:]
    constants, carry = rest[:body_nconsts], list(rest[body_nconsts:])
    while cond_jaxpr(*conditions, *carry)[0]:
        carry = body_jaxpr(*constants, *carry)
    return carry


def cond(index, *values, branches):
    """Runs the program of a branch."""
    return branches[min(max(int(index), 0), len(branches) - 1)](*values)


def dot_general(lhs, rhs, *, dimension_numbers, preferred_element_type=None):
    """Multiplies arrays: summed over some axes, side by side in others."""
    (summed, summed_rhs), (batch, batch_rhs) = dimension_numbers
    free = [axis for axis in range(lhs.ndim) if axis not in {*summed, *batch}]
    free_rhs = [axis for axis in range(rhs.ndim) if axis not in {*summed_rhs, *batch_rhs}]

    def sizes(array: np.ndarray, axes: Sequence[int]) -> list[int]:
        return [array.shape[axis] for axis in axes]

    leading, size = sizes(lhs, batch), math.prod(sizes(lhs, summed))
    shape = [*leading, *sizes(lhs, free), *sizes(rhs, free_rhs)]
    rows, columns = math.prod(sizes(lhs, free)), math.prod(sizes(rhs, free_rhs))
    left = lhs.transpose([*batch, *free, *summed]).reshape([*leading, rows, size])
    right = rhs.transpose([*batch_rhs, *summed_rhs, *free_rhs]).reshape([*leading, size, columns])
    product = (left @ right).reshape(shape)
    return product.astype(preferred_element_type or product.dtype, copy=False)


def pad(operand, value, *, padding_config):
    """Pads and dilates an array, or crops it where a number is negative."""
    dilated = [
        size + max(size - 1, 0) * inner
        for size, (_, _, inner) in zip(operand.shape, padding_config, strict=True)
    ]
    result = np.full(dilated, value, operand.dtype)
    result[tuple(slice(None, None, inner + 1) for _, _, inner in padding_config)] = operand
    edges = [(max(low, 0), max(high, 0)) for low, high, _ in padding_config]
    result = np.pad(result, edges, constant_values=value)
    cut = [
        slice(max(-low, 0), size - max(-high, 0))
        for size, (low, high, _) in zip(result.shape, padding_config, strict=True)
    ]
    return result[tuple(cut)]


def conv_general_dilated(
    lhs,
    rhs,
    *,
    window_strides,
    padding,
    lhs_dilation,
    rhs_dilation,
    dimension_numbers,
    feature_group_count,
    preferred_element_type=None,
):
    """Convolves arrays, by a product for each position of the kernel."""
    lhs = lhs.transpose(dimension_numbers["lhs_spec"])  # [batch, inputs, *space]
    kernel = rhs.transpose(dimension_numbers["rhs_spec"])  # [outputs, inputs, *space]
    edges = [(low, high, step - 1) for (low, high), step in zip(padding, lhs_dilation, strict=True)]
    lhs = pad(lhs, 0, padding_config=[(0, 0, 0), (0, 0, 0), *edges])
    widths, groups = kernel.shape[2:], feature_group_count
    space = [
        (size - (width - 1) * dilation - 1) // stride + 1
        for size, width, dilation, stride in zip(
            lhs.shape[2:], widths, rhs_dilation, window_strides, strict=True
        )
    ]
    kernel = kernel.reshape(groups, -1, *kernel.shape[1:])
    total = np.zeros((len(lhs), groups, kernel.shape[1], math.prod(space)), lhs.dtype)
    for position in np.ndindex(*widths):
        starts = [place * step for place, step in zip(position, rhs_dilation, strict=True)]
        cut = [
            slice(start, start + (size - 1) * stride + 1, stride)
            for start, size, stride in zip(starts, space, window_strides, strict=True)
        ]
        part = lhs[(slice(None), slice(None), *cut)].reshape(len(lhs), groups, -1, math.prod(space))
        total += kernel[(..., *position)] @ part
    result = total.reshape(len(lhs), -1, *space).transpose(
        np.argsort(dimension_numbers["out_spec"])
    )
    return result.astype(preferred_element_type or result.dtype)


def _window_indices(shape, indices, places, batched, sizes, window):
    """Returns an index for each axis, `[*batch, *window]`, and which windows lie in the array.

    Args:
      shape: of the array.
      indices: `[*batch, places]`, where windows start.
      places: of an axis in the last axis of `indices`, by the axis.
      batched: the axis of `indices` with which an axis runs along, by the axis.
      sizes: of a window, by axis.
      window: the axes that a window has.
    """
    batch_ndim = indices.ndim - 1
    is_inside, arrays = np.ones(indices.shape[:-1], bool), []
    for axis, (length, size) in enumerate(zip(shape, sizes, strict=True)):
        start: Any = np.zeros((1,) * batch_ndim, np.int64)
        if axis in places:
            start = indices[..., places[axis]].astype(np.int64)
            is_inside &= (start >= 0) & (start <= length - size)
            start = np.clip(start, 0, length - size)
        elif axis in batched:
            start = _along(np.arange(length), batched[axis], batch_ndim)
        start = start.reshape(start.shape + (1,) * len(window))
        if axis in window:
            start = start + _along(np.arange(size), window.index(axis), len(window))
        arrays.append(start)
    return arrays, is_inside


def _along(values: np.ndarray, axis: int, ndim: int) -> np.ndarray:
    return values.reshape([-1 if place == axis else 1 for place in range(ndim)])


def gather(operand, indices, *, dimension_numbers, slice_sizes, mode, fill_value=None):
    """Gathers windows of an array."""
    numbers = dimension_numbers
    batching = numbers["operand_batching_dims"], numbers["start_indices_batching_dims"]
    batched = dict(zip(*batching, strict=True))
    places = {axis: place for place, axis in enumerate(numbers["start_index_map"])}
    collapsed = {*numbers["collapsed_slice_dims"], *batched}
    window = [axis for axis in range(operand.ndim) if axis not in collapsed]
    arrays, is_inside = _window_indices(
        operand.shape, indices, places, batched, slice_sizes, window
    )
    result = operand[tuple(arrays)]
    shape = (*indices.shape[:-1], *(slice_sizes[axis] for axis in window))
    result = np.broadcast_to(result, shape)
    batch_ndim = is_inside.ndim
    if mode == "FILL_OR_DROP" and not is_inside.all():
        filled = is_inside.reshape(is_inside.shape + (1,) * len(window))
        result = np.where(filled, result, _fill_value(operand.dtype, fill_value))
    offsets, batch_axes = numbers["offset_dims"], iter(range(batch_ndim))
    order = [
        batch_ndim + offsets.index(axis) if axis in offsets else next(batch_axes)
        for axis in range(len(shape))
    ]
    return result.transpose(order)


def _fill_value(dtype: np.dtype, value: Any) -> Any:
    if value is None:
        if dtype.kind in "iu":
            value = np.iinfo(dtype).min if dtype.kind == "i" else np.iinfo(dtype).max
        else:
            value = dtype.kind == "b" or np.nan
    return dtype.type(value)


def _scatter(combine: Callable[[np.ndarray, Any, np.ndarray], None]) -> Callable[..., np.ndarray]:
    def scatter(operand, indices, updates, *, dimension_numbers, mode):
        numbers, result = dimension_numbers, np.array(operand)
        batching = numbers["operand_batching_dims"], numbers["scatter_indices_batching_dims"]
        batched = dict(zip(*batching, strict=True))
        places = {axis: n for n, axis in enumerate(numbers["scatter_dims_to_operand_dims"])}
        inserted = {*numbers["inserted_window_dims"], *batched}
        window = [axis for axis in range(operand.ndim) if axis not in inserted]
        window_axes = numbers["update_window_dims"]
        batch_axes = [axis for axis in range(updates.ndim) if axis not in window_axes]
        updates = updates.transpose([*batch_axes, *window_axes])
        sizes = [1] * operand.ndim
        for axis, size in zip(window, updates.shape[len(batch_axes) :], strict=True):
            sizes[axis] = size
        arrays, is_inside = _window_indices(operand.shape, indices, places, batched, sizes, window)
        arrays = [np.broadcast_to(array, updates.shape) for array in arrays]
        if mode == "CLIP":
            is_inside = np.ones_like(is_inside)
        combine(result, tuple(array[is_inside] for array in arrays), updates[is_inside])
        return result

    return scatter


def dynamic_slice(operand, *starts, slice_sizes):
    """Cuts a window out of an array, moved inside where it would reach out."""
    return operand[_window(operand.shape, starts, slice_sizes)]


def dynamic_update_slice(operand, update, *starts):
    """Overwrites a window of an array, moved inside where it would reach out."""
    result = np.array(operand)
    result[_window(operand.shape, starts, update.shape)] = update
    return result


def _window(shape, starts, sizes):
    corners = [
        min(max(int(start), 0), length - size)
        for start, length, size in zip(starts, shape, sizes, strict=True)
    ]
    return tuple(slice(start, start + size) for start, size in zip(corners, sizes, strict=True))


def triangular_solve(a, b, *, left_side, lower, transpose_a, unit_diagonal, conjugate_a=False):
    """Solves systems of equations with triangular matrices."""
    a = np.tril(a) if lower else np.triu(a)
    if unit_diagonal:
        identity = np.eye(a.shape[-1], dtype=a.dtype)
        a = np.where(identity > 0, identity, a)
    a = np.conj(a) if conjugate_a else a
    a = a.swapaxes(-1, -2) if transpose_a else a
    if left_side:
        return np.linalg.solve(a, b)
    return np.linalg.solve(a.swapaxes(-1, -2), b.swapaxes(-1, -2)).swapaxes(-1, -2)


def broadcast_in_dim(operand, *, shape, broadcast_dimensions):
    """Adds axes to an array and repeats it along them."""
    sizes = [1] * len(shape)
    for size, axis in zip(np.shape(operand), broadcast_dimensions, strict=True):
        sizes[axis] = size
    return np.broadcast_to(np.reshape(operand, sizes), shape)


def select_n(condition, *cases):
    """Selects from cases by a condition or by numbers."""
    if np.asarray(condition).dtype == bool:
        return np.where(condition, cases[1], cases[0])
    return np.choose(condition, cases)


def sort(*operands, dimension, num_keys):
    """Sorts arrays by the first of them; equal entries stay in order."""
    keys = operands[:num_keys][::-1]
    order = np.lexsort(keys, axis=dimension)
    return [np.take_along_axis(operand, order, dimension) for operand in operands]


def top_k(operand, *, k, axis):
    """Returns the largest entries, the first of equal ones first, and their positions."""
    ascending = np.argsort(np.flip(operand, axis), axis, "stable")
    order = operand.shape[axis] - 1 - np.take(np.flip(ascending, axis), range(k), axis)
    return [np.take_along_axis(operand, order, axis), order.astype(np.int32)]


def _cumulative(function: Callable[..., Any]) -> Callable[..., np.ndarray]:
    def cumulative(operand, *, axis, reverse):
        if not reverse:
            return function(operand, axis=axis, dtype=operand.dtype)
        flipped = function(np.flip(operand, axis), axis=axis, dtype=operand.dtype)
        return np.flip(flipped, axis)

    return cumulative


def _reduction(function: Callable[..., Any]) -> Callable[..., np.ndarray]:
    return lambda operand, *, axes: function(operand, axis=tuple(axes)).astype(operand.dtype)


def _index_reduction(function: Callable[..., Any]) -> Callable[..., np.ndarray]:
    return lambda operand, *, axes, index_dtype: function(operand, axes[0]).astype(index_dtype)


def _divide(dividend: Any, divisor: Any) -> Any:
    if np.asarray(dividend).dtype.kind not in "iu":
        return np.true_divide(dividend, divisor)
    # Integers are divided towards zero.
    return (dividend - np.fmod(dividend, divisor)) // divisor


def _elementwise(function: Callable[[float], float]) -> Callable[[Any], np.ndarray]:
    return lambda operand: np.vectorize(function, [np.float64])(operand).astype(operand.dtype)


def _assign(array: np.ndarray, index: Any, values: np.ndarray) -> None:
    array[index] = values


_ROUNDINGS = {
    "TO_NEAREST_EVEN": np.round,
    "AWAY_FROM_ZERO": lambda operand: np.copysign(np.floor(np.abs(operand) + 0.5), operand),
}

ELEMENTWISE: dict[str, Callable[..., Any]] = {
    **{name: getattr(np, name) for name in ("sign", "floor", "ceil", "sqrt", "square", "cbrt")},
    **{name: getattr(np, name) for name in ("exp", "exp2", "expm1", "log", "log1p", "real")},
    **{name: getattr(np, name) for name in ("sin", "cos", "tan", "sinh", "cosh", "tanh", "imag")},
    **{f"a{name}": getattr(np, f"arc{name}") for name in ("sin", "cos", "tan", "tan2")},
    **{f"a{name}": getattr(np, f"arc{name}") for name in ("sinh", "cosh", "tanh")},
    **{"abs": np.abs, "neg": np.negative, "conj": np.conj, "is_finite": np.isfinite},
    **{"add": np.add, "add_any": np.add, "sub": np.subtract, "mul": np.multiply, "div": _divide},
    **{"rem": np.fmod, "pow": np.power, "max": np.maximum, "min": np.minimum},
    **{"eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal},
    **{"gt": np.greater, "ge": np.greater_equal, "not": np.invert},
    **{"and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor},
    "rsqrt": lambda operand: 1 / np.sqrt(operand),
    "logistic": lambda operand: 1 / (1 + np.exp(-operand)),
    "complex": lambda real, imaginary: (real + 1j * imaginary).astype(np.complex64),
    "clamp": lambda low, operand, high: np.minimum(np.maximum(operand, low), high),
    "erf": _elementwise(math.erf),
    "erfc": _elementwise(math.erfc),
    "stop_gradient": lambda operand: operand,
    "copy": lambda operand: operand,
    "optimization_barrier": lambda *operands: list(operands),
}
"""Operations without parameters."""

OPERATIONS: dict[str, Callable[..., Any]] = {
    **ELEMENTWISE,
    **{"scan": scan, "while": while_loop, "cond": cond},
    **{"dot_general": dot_general, "conv_general_dilated": conv_general_dilated},
    **{"pad": pad, "gather": gather, "scatter": _scatter(_assign)},
    "scatter-add": _scatter(np.add.at),
    **{"dynamic_slice": dynamic_slice, "dynamic_update_slice": dynamic_update_slice},
    **{"triangular_solve": triangular_solve, "broadcast_in_dim": broadcast_in_dim},
    **{"select_n": select_n, "sort": sort, "top_k": top_k},
    **{"cumsum": _cumulative(np.cumsum), "cumprod": _cumulative(np.cumprod)},
    **{"cummax": _cumulative(np.maximum.accumulate), "cummin": _cumulative(np.minimum.accumulate)},
    "cumlogsumexp": _cumulative(np.logaddexp.accumulate),
    **{"reduce_sum": _reduction(np.sum), "reduce_prod": _reduction(np.prod)},
    **{"reduce_max": _reduction(np.max), "reduce_min": _reduction(np.min)},
    **{"reduce_and": _reduction(np.all), "reduce_or": _reduction(np.any)},
    **{"argmax": _index_reduction(np.argmax), "argmin": _index_reduction(np.argmin)},
    "round": lambda operand, *, rounding_method: _ROUNDINGS[rounding_method](operand),
    "integer_pow": lambda operand, *, y: operand**y,
    "convert_element_type": lambda operand, *, new_dtype: np.asarray(operand).astype(new_dtype),
    "reshape": lambda operand, *, new_sizes: np.reshape(operand, new_sizes),
    "transpose": lambda operand, *, permutation: np.transpose(operand, permutation),
    "squeeze": lambda operand, *, dimensions: np.squeeze(operand, tuple(dimensions)),
    "expand_dims": lambda operand, *, dimensions: np.expand_dims(operand, tuple(dimensions)),
    "rev": lambda operand, *, dimensions: np.flip(operand, tuple(dimensions)),
    "concatenate": lambda *operands, dimension: np.concatenate(operands, dimension),
    "split": lambda operand, *, sizes, axis: np.split(operand, np.cumsum(sizes)[:-1], axis),
    "slice": lambda operand, *, start_indices, limit_indices, strides=None: operand[
        tuple(map(slice, start_indices, limit_indices, strides or [1] * operand.ndim))
    ],
    "iota": lambda *, dtype, shape, dimension: np.broadcast_to(
        _along(np.arange(shape[dimension], dtype=dtype), dimension, len(shape)), shape
    ),
    "dim_as_value": lambda *, dim: np.int32(dim),
}
"""Operations by the names of their primitives."""
