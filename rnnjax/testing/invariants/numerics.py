"""Invariants of training: finite values, gradients that are derivatives, and dtypes."""

import dataclasses
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
)
from rnnjax.testing.cell_adapter import normal_noise, path_names
from rnnjax.testing.check_case import CheckCase
from rnnjax.testing.harness import DROPOUT_SEED
from rnnjax.testing.invariant import FORWARD, invariant
from rnnjax.testing.random_streams import random_state_parts
from rnnjax.testing.sequence_result import (
    SequenceArguments,
    SequenceResult,
    differentiable_leaves,
    estimate_tolerances,
    layer_variables,
)

BFLOAT16_EPSILON = 2.0**-8
DOUBLE = {"float32": np.dtype(np.float64), "complex64": np.dtype(np.complex128)}
"""The double precision of dtypes that follow `param_dtype`; parts in other dtypes do not."""

INPUT_SCALES = (1e2, 1e4)
LONG_FACTOR = 43
"""Multiple of a case's steps: some hundreds."""

DIFFERENCE_STEP = 1e-5
"""Of central differences, whose error is its square plus float64's 1e-16 divided by it."""

BFLOAT16_CALLS = 8
"""Calls in a row over which a drift in bfloat16 accumulates."""


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
    gradients = SequenceResult(parameters=default).leaves()
    assert_finite(gradients, "from the default initial state")
    for path, (name, leaf), random_leaf in zip(
        paths, gradients.items(), jax.tree.leaves(random), strict=True
    ):
        nonzero = (leaf != 0) | (random_leaf != 0)
        if not frozen.intersection(path_names(path)):
            _assert_trainable(name, nonzero)
        elif nonzero.any():
            raise ViolationError(f"{name} is not zero, and the parameter is declared frozen")


def _assert_trainable(name: str, nonzero: np.ndarray) -> None:
    """Asserts that a gradient is not zero in all of a parameter, of a row or of a column."""
    if not nonzero.any():
        raise ViolationError(
            f"{name} is zero, so that nothing trains it; if that is meant, declare it frozen"
        )
    for axis, size in enumerate(nonzero.shape):
        remaining_axes = tuple(index for index in range(nonzero.ndim) if index != axis)
        dead = np.flatnonzero(~nonzero.any(axis=remaining_axes))
        if dead.size and nonzero.size != size:  # A single entry may be zero by chance.
            raise ViolationError(
                f"{name} is zero at {', '.join(map(str, dead))} of the {size} places along axis "
                f"{axis}, so that nothing trains these entries"
            )


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
    if case.engine == "cudnn":  # It has float32 alone, as in the next check.
        return
    with jax.enable_x64(True):
        arguments = jax.tree.map(_to_double, case.arguments)
        # Parts that are coarser even then round by more than a finite difference.
        final, outputs = arguments.cotangents
        arguments = arguments._replace(cotangents=(jax.tree.map(_zero_coarse, final), outputs))
        result = _run(case, arguments, "float64")
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
            losses.append(_loss(_run(case, changed, "float64"), arguments.cotangents))
        expected = np.asarray((losses[0] - losses[1]) / (2 * DIFFERENCE_STEP))
        actual = np.asarray((gradients[path] * direction).sum().real)
        tolerance = 1e-6 * max(1.0, abs(float(expected)), abs(losses[0]))
        title = f"gradient of {label}" + (f".{name}" if name else "") + ", along one direction,"
        assert_close(
            {title: actual}, {title: expected}, {title: tolerance}, "by finite differences"
        )


@invariant(
    "in bfloat16 the state stays float32 and does not drift",
    cause="the state is kept or added up in dtype instead of param_dtype: cast "
    "projected.astype(state.dtype) before adding",
    directions=FORWARD,
)
def bfloat16(case: CheckCase) -> None:
    cell = case.harness.cell("bfloat16")
    if cell is None:
        raise NotApplicableError("the cell has no dtype to make bfloat16")
    if case.engine == "cudnn":
        return
    arguments = case.arguments
    step = dataclasses.replace(case.adapter, cell=cell).step
    state, _ = jax.eval_shape(
        step, case.harness.variables(), arguments.state, arguments.inputs[:, 0]
    )
    assert_same_structure("the state after a step in bfloat16", state, arguments.state)
    result = _run(case, arguments, "bfloat16")
    expected = _run(case, arguments, "float32")
    assert_same_structure("the final state in bfloat16", result.final, expected.final)
    if not case.adapter.wraps_flax and result.outputs.dtype != jnp.bfloat16:
        raise ViolationError(f"outputs have the dtype {result.outputs.dtype}, expected bfloat16")
    assert_finite(result.leaves(), "in bfloat16")
    tolerances = estimate_tolerances(
        lambda arguments: _run_repeatedly(case, arguments, "float32"),
        arguments,
        BFLOAT16_EPSILON,
        factor=3,
    )
    assert_close(
        _run_repeatedly(case, arguments, "bfloat16").leaves(),
        _run_repeatedly(case, arguments, "float32").leaves(),
        tolerances,
        f"in bfloat16 after {BFLOAT16_CALLS * case.steps} steps, as in float32",
    )


def _run_repeatedly(
    case: CheckCase, arguments: SequenceArguments, precision: str
) -> SequenceResult:
    """Returns the final state and the last outputs of several calls in a row."""
    result = SequenceResult()
    for call in range(BFLOAT16_CALLS):
        inputs = np.roll(arguments.inputs, call, axis=1)
        result = _run(case, arguments._replace(inputs=inputs), precision)
        arguments = arguments._replace(state=result.final)
    return SequenceResult(result.final, result.outputs.astype(np.float32))


def _run(case: CheckCase, arguments: SequenceArguments, precision: str) -> SequenceResult:
    return case.harness.run(case.engine, case.reverse, arguments, case.mask, precision)


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
