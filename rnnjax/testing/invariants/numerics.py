"""Invariants of training: finite values, gradients that are derivatives, and dtypes."""

import dataclasses
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax.cells.base import frozen_names
from rnnjax.testing.assertions import (
    NotApplicableError,
    ViolationError,
    assert_close,
    assert_finite,
    assert_same_structure,
    named_leaves,
    to_numpy,
)
from rnnjax.testing.cell_adapter import normal_noise, path_names
from rnnjax.testing.check_case import CheckCase
from rnnjax.testing.harness import DROPOUT_SEED
from rnnjax.testing.invariant import BOTH, FORWARD, invariant
from rnnjax.testing.random_streams import random_state_parts
from rnnjax.testing.sequence_result import (
    SequenceArguments,
    SequenceResult,
    differentiable_leaves,
    dropout_rngs,
    layer_variables,
)
from rnnjax.testing.surrogates import find_surrogate

DOUBLE = {"float32": np.dtype(np.float64), "complex64": np.dtype(np.complex128)}
"""The double precision of dtypes that follow `param_dtype`; parts in other dtypes do not."""

INPUT_SCALES = (1e2, 1e4)
LONG_FACTOR = 43
"""Multiple of a case's steps: some hundreds."""

DRIVING_SCALES = (3.0, 10.0, 30.0, 100.0)
"""Multiples of the inputs for which a unit that is silent may give a gradient."""

DIFFERENCE_STEP = 1e-5
"""Of central differences, whose error is its square plus float64's 1e-16 divided by it."""


@invariant(
    "values and gradients are finite, also from the default state and for inputs of zero",
    cause="a division by a norm or a sum that may be zero, or the gradient of sqrt, log or a power "
    "at zero: add an epsilon inside",
    directions=FORWARD,
    training=True,
)
def finite(case: CheckCase) -> None:
    zeros = np.zeros_like(case.arguments.inputs)
    default = case.harness.initial_state(case.rows, DROPOUT_SEED if case.training else None)
    for changes, context in (
        ({}, "from a random state"),
        ({"state": default}, "from the default initial state"),
        ({"state": default, "inputs": zeros}, "with inputs of zero"),
    ):
        assert_finite(case.run(**changes).leaves(), context)


@invariant(
    "a new cell stays finite, with gradients, for large inputs and over hundreds of steps",
    cause="exp of something unbounded, or a recurrence whose factor exceeds one: subtract a "
    "running maximum, or bound the factor by a sigmoid",
    directions=FORWARD,
)
def stability(case: CheckCase) -> None:
    (initial_state, _), variables = case.harness.init(case.rows)
    initial: dict[str, Any] = {"variables": layer_variables(variables), "state": initial_state}
    for scale in INPUT_SCALES:
        result = case.run(**initial, inputs=case.arguments.inputs * np.float32(scale))
        assert_finite(result.leaves(), f"of a new cell with inputs of {scale:g}")
    steps = LONG_FACTOR * case.steps
    arguments = case.harness.arguments(case.rows, steps)._replace(**initial)
    mask = np.ones((case.rows, steps), bool)
    result = case.harness.run(case.engine, case.reverse, arguments, mask)
    assert_finite(result.leaves(), f"of a new cell over {steps} steps")


@invariant(
    "a new cell has finite gradients where padding is read first, in empty rows, and for constant "
    "inputs",
    cause="parameters or a state that begin at zero, where a norm, a square root, a logarithm or a "
    "power has no derivative",
    directions=BOTH,
    all_masks=True,
    training=True,
)
def new_cell(case: CheckCase) -> None:
    def initialize():
        variables = case.harness.init(case.rows)[1]
        rngs = dropout_rngs(jax.random.key(DROPOUT_SEED) if case.training else None)
        state = case.adapter.initial_state(variables, (case.rows,), rngs)
        return layer_variables(variables), to_numpy(state)

    variables, state = case.harness.cached(("new cell", case.rows, case.training), initialize)
    inputs = case.arguments.inputs
    # Without an initial state the gradient of the default one reaches its parameters.
    passes = (True, False) if case.engine == "scan" and not case.reverse else (True,)
    for values, label in (
        (inputs, "random numbers"),
        (0 * inputs, "zeros"),
        (0 * inputs + 1, "ones"),
    ):
        for pass_state in passes:
            result = case.run(
                variables=variables, state=state, inputs=values, pass_state=pass_state
            )
            assert_finite(
                result._replace(final=None).leaves(), f"in a new cell, for inputs of {label}"
            )


@invariant(
    "parameters and state have the dtype param_dtype",
    cause="jnp.zeros(shape) or self.param(name, init, shape) without self.param_dtype as the last "
    "argument",
)
def param_dtype(case: CheckCase) -> None:
    if case.harness.cell("float64") is None:
        raise NotApplicableError("the cell has no param_dtype")

    def dtypes(init):
        (state, _), variables = init
        leaves = named_leaves({"parameters": variables.get("params", {}), "initial state": state})
        return {
            name: leaf.dtype
            for name, leaf in leaves.items()
            if differentiable_leaves(leaf) is not None
        }

    default = dtypes(case.harness.init(case.rows))
    for precision in ("float64", "float32"):
        adapter = dataclasses.replace(case.adapter, cell=case.harness.cell(precision))
        # Without x64 a missing dtype would be float32 by chance. The inputs stay float32, and
        # parameters of float64 promote them.
        with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
            actual = dtypes(jax.eval_shape(lambda adapter=adapter: adapter.init(case.rows)))
        for name, dtype in default.items():
            expected = DOUBLE.get(str(dtype), dtype) if precision == "float64" else dtype
            if actual[name] != expected:
                raise ViolationError(
                    f"{name} has the dtype {actual[name]}, expected {expected} by "
                    f"param_dtype={precision}; pass self.param_dtype where it is made"
                )


@invariant(
    "every parameter gets a gradient, in all its rows and columns, and a frozen one none",
    cause="a parameter that no step reads, a stop_gradient or rounding around it, or an initial "
    "value at which its gradient vanishes",
    any_size=False,
)
def trainable_parameters(case: CheckCase) -> None:
    default, random = case.run(pass_state=False).parameters, case.run().parameters
    frozen = frozen_names(case.adapter.cell)
    paths = [path for path, _ in jax.tree_util.tree_flatten_with_path(default)[0]]
    unknown = sorted(frozen - {name for path in paths for name in path_names(path)})
    if unknown:
        raise ViolationError(f"frozen names {unknown[0]!r}, and there is no such parameter")
    if not paths:
        raise NotApplicableError("the cell has no parameters")
    assert_finite(SequenceResult(parameters=default).leaves(), "from the default initial state")
    names = [*SequenceResult(parameters=default).leaves()]
    is_frozen = [bool(frozen.intersection(path_names(path))) for path in paths]
    nonzero = [
        (leaf != 0) | (random_leaf != 0)
        for leaf, random_leaf in zip(jax.tree.leaves(default), jax.tree.leaves(random), strict=True)
    ]
    for name, entries in itertools.compress(zip(names, nonzero, strict=True), is_frozen):
        if entries.any():
            raise ViolationError(f"{name} is not zero, and the parameter is declared frozen")
    # A unit that is silent for common inputs may be driven by large ones, or by another bias.
    for scale in DRIVING_SCALES:
        if all(map(_is_trained, itertools.compress(nonzero, np.logical_not(is_frozen)))):
            return
        driven = case.run(
            variables=layer_variables(case.harness.variables(seed=int(30 + scale))),
            inputs=case.arguments.inputs * np.float32(scale),
        ).parameters
        nonzero = [
            entries | (leaf != 0)
            for entries, leaf in zip(nonzero, jax.tree.leaves(driven), strict=True)
        ]
    for name, entries, frozen_ in zip(names, nonzero, is_frozen, strict=True):
        if not frozen_:
            _assert_trainable(name, entries)


def _is_trained(nonzero: np.ndarray) -> bool:
    try:
        _assert_trainable("", nonzero)
    except ViolationError:
        return False
    return True


def _assert_trainable(name: str, nonzero: np.ndarray) -> None:
    """Asserts that a gradient is not zero in all of a parameter, of a row or of a column."""
    if not nonzero.any():
        raise ViolationError(
            f"{name} is zero, so that nothing trains it; if that is meant, declare it frozen"
        )
    if _is_strictly_triangular(nonzero):
        return
    for axis, size in enumerate(nonzero.shape):
        remaining_axes = tuple(index for index in range(nonzero.ndim) if index != axis)
        dead = np.flatnonzero(~nonzero.any(axis=remaining_axes))
        if dead.size and nonzero.size != size:  # A single entry may be zero by chance.
            raise ViolationError(
                f"{name} is zero at {', '.join(map(str, dead))} of the {size} places along axis "
                f"{axis}, so that nothing trains these entries"
            )


def _is_strictly_triangular(nonzero: np.ndarray) -> bool:
    """Returns whether square blocks side by side, along either axis, are strict triangles."""
    if nonzero.ndim < 2:
        return False
    for entries in (nonzero, np.swapaxes(nonzero, -1, -2)):
        *_, size, width = entries.shape
        if size < 2 or width % size:
            continue
        blocks = entries.reshape(*entries.shape[:-1], width // size, size)
        lower = np.tri(size, k=-1, dtype=bool)[:, None]
        if (blocks == lower).all() or (blocks == np.swapaxes(lower, 0, 2)).all():
            return True
    return False


@invariant(
    "gradients equal finite differences in float64",
    cause="stop_gradient, a custom derivative, or rounding and comparisons whose derivative is "
    "zero; a surrogate gradient is skipped by name",
    directions=FORWARD,
    all_masks=True,
    training=True,
)
def finite_differences(case: CheckCase) -> None:
    if case.harness.cell("float64") is None:
        raise NotApplicableError("the cell has no param_dtype to make float64")
    if (surrogate := find_surrogate(case)) is not None:
        raise NotApplicableError(f"{surrogate} has a surrogate gradient, which is no derivative")
    if case.engine == "cudnn":  # It has float32 alone, as in the next check.
        return
    with jax.enable_x64(True):
        arguments = jax.tree.map(_to_double, case.arguments)
        # Parts that are coarser even then round by more than a finite difference.
        final, outputs = arguments.cotangents
        arguments = arguments._replace(cotangents=(jax.tree.map(_zero_coarse, final), outputs))
        result = case.run_in_precision(arguments, "float64")
        assert_same_structure("the final state in float64", result.final, arguments.state)
        for field in ("variables", "inputs", "state"):
            gradients = result.parameters if field == "variables" else getattr(result, field)
            _assert_derivative(case, arguments, field, gradients)


def _assert_derivative(
    case: CheckCase, arguments: SequenceArguments, field: str, gradients: Any
) -> None:
    """Asserts that each leaf's gradient equals a central difference along one direction."""
    label = {"variables": "parameters", "inputs": "inputs", "state": "initial state"}[field]
    frozen = frozen_names(case.adapter.cell)
    excluded = random_state_parts(case) if field == "state" else []  # Masks of dropout.
    flat, structure = jax.tree_util.tree_flatten_with_path(getattr(arguments, field))
    gradients = dict(jax.tree_util.tree_flatten_with_path(gradients)[0])
    leaves = [leaf for _, leaf in flat]
    for index, (path, leaf) in enumerate(flat):
        is_frozen = field == "variables" and frozen.intersection(path_names(path))
        name = jax.tree_util.keystr(path, simple=True, separator=".").removeprefix("params.cell.")
        if path not in gradients or is_frozen or name in excluded or _is_coarse(leaf):
            continue
        direction = normal_noise(leaf.shape, leaf.dtype, 7)
        losses = []
        for sign in (1, -1):
            shifted = [*leaves]
            shifted[index] = leaf + sign * DIFFERENCE_STEP * direction
            changed = arguments._replace(**{field: jax.tree.unflatten(structure, shifted)})
            losses.append(_loss(case.run_in_precision(changed, "float64"), arguments.cotangents))
        expected = np.asarray((losses[0] - losses[1]) / (2 * DIFFERENCE_STEP))
        actual = np.asarray((gradients[path] * direction).sum().real)
        tolerance = 1e-6 * max(1.0, abs(float(expected)), abs(losses[0]))
        title = f"gradient of {label}" + (f".{name}" if name else "") + ", along one direction,"
        assert_close(
            {title: actual}, {title: expected}, {title: tolerance}, "by finite differences"
        )


def _loss(result: SequenceResult, cotangents: Any) -> float:
    """Returns the scalar whose gradients the run computes."""
    final = named_leaves(result.final)
    pairs = [(final[name], leaf) for name, leaf in named_leaves(cotangents[0]).items()]
    return float(sum((a * b).sum().real for a, b in [*pairs, (result.outputs, cotangents[1])]))


def _to_double(leaf: Any) -> Any:
    double = DOUBLE.get(str(leaf.dtype))
    return leaf if double is None else np.asarray(leaf).astype(double)


def _is_coarse(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jnp.inexact) and leaf.dtype not in DOUBLE.values()


def _zero_coarse(leaf: Any) -> Any:
    return np.zeros_like(leaf) if _is_coarse(leaf) else leaf
