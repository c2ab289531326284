"""Invariants of rounding: results in bfloat16, counters in small dtypes, and large states."""

import dataclasses
import functools
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax.testing.assertions import (
    EPSILON,
    NotApplicableError,
    ViolationError,
    assert_close,
    assert_finite,
    assert_same_structure,
    named_leaves,
    to_numpy,
)
from rnnjax.testing.check_case import CheckCase
from rnnjax.testing.invariant import FORWARD, invariant
from rnnjax.testing.random_streams import trace_step
from rnnjax.testing.sequence_result import (
    SequenceArguments,
    SequenceResult,
    estimate_tolerances,
)
from rnnjax.testing.single_steps import run_single_steps

BFLOAT16_EPSILON = 2.0**-8

BFLOAT16_CALLS = 44
"""Calls in a row over which a drift in bfloat16 accumulates, and a counter passes 256."""

SMALL_DTYPES = {
    "i8": (jnp.int8, 1_200),
    "u8": (jnp.uint8, 1_200),
    "bf16": (jnp.bfloat16, 1_200),
    "f16": (jnp.float16, 3_000),
    "i16": (jnp.int16, 33_500),
    "u16": (jnp.uint16, 66_500),
}
"""Dtypes in which a count soon ends, and the steps after which it has."""

EARLY_STEPS = 20
"""Steps that show by how much a count grows."""

STATE_SCALES = (1e-3, 1e2, 1e4)


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
    result = case.run_in_precision(arguments, "bfloat16")
    expected = case.run_in_precision(arguments, "float32")
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


@invariant(
    "gradients in bfloat16 equal those in float32 within the rounding of bfloat16",
    cause="a hand-written derivative that adds up in bfloat16, or a cast of a small gradient to it",
    directions=FORWARD,
)
def bfloat16_gradients(case: CheckCase) -> None:
    if case.harness.cell("bfloat16") is None:
        raise NotApplicableError("the cell has no dtype to make bfloat16")
    if case.engine == "cudnn":
        return
    arguments = case.arguments
    tolerances = estimate_tolerances(
        lambda arguments: case.run_in_precision(arguments, "float32"),
        arguments,
        BFLOAT16_EPSILON,
        factor=3,
    )
    assert_close(
        case.run_in_precision(arguments, "bfloat16").gradients().leaves(),
        case.run_in_precision(arguments, "float32").gradients().leaves(),
        tolerances,
        "in bfloat16, as in float32",
    )


@invariant(
    "engines and coefficients equal single steps also from large and small states",
    cause="a bound, a saturation or an epsilon that stands in one of step, coefficients, read and "
    "fused alone",
    directions=FORWARD,
)
def large_states(case: CheckCase) -> None:
    for scale in STATE_SCALES:
        state = jax.tree.map(lambda leaf, scale=scale: _scaled(leaf, scale), case.arguments.state)
        for factor in (1, 100):
            inputs = case.arguments.inputs * np.float32(factor)
            arguments = case.arguments._replace(state=state, inputs=inputs)
            expected, tolerances = case.harness.cached(
                ("large states", scale, factor, case.rows, case.steps),
                functools.partial(_expected, case, arguments, max(1, scale) * factor),
            )
            if not np.isfinite([*tolerances.values()]).all():
                continue
            assert_close(
                case.run(state=state, inputs=inputs).leaves(),
                expected.leaves(),
                tolerances,
                f"from states times {scale:g} and inputs times {factor}, as by single steps",
            )


@invariant(
    "no count in a small dtype overflows or stops within thousands of steps",
    cause="a counter of int8, uint8, bfloat16 or float16: count in int32",
    any_size=False,
)
def counters(case: CheckCase) -> None:
    try:
        text = str(trace_step(case, training=False))
    except jax.errors.ConcretizationTypeError:
        raise NotApplicableError("a step cannot be traced") from None
    names = [name for name in SMALL_DTYPES if re.search(rf"\b{name}\[", text)]
    if not names:
        raise NotApplicableError("the cell computes in no small dtype")
    history = _record_states(case, max(SMALL_DTYPES[name][1] for name in names))
    for part, values in history.items():
        for name in names:
            if (reason := _find_end(values.astype(np.float64), SMALL_DTYPES[name][0])) is not None:
                label = f"the state's {part}" if part else "the state"
                raise ViolationError(f"{label} counts in {name}, {reason}")


def _run_repeatedly(
    case: CheckCase, arguments: SequenceArguments, precision: str
) -> SequenceResult:
    """Returns the final state and the last outputs of several calls in a row."""
    result = SequenceResult()
    for call in range(BFLOAT16_CALLS):
        inputs = np.roll(arguments.inputs, call, axis=1)
        result = case.run_in_precision(arguments._replace(inputs=inputs), precision)
        arguments = arguments._replace(state=result.final)
    return SequenceResult(result.final, result.outputs.astype(np.float32))


def _scaled(leaf: np.ndarray, scale: float) -> np.ndarray:
    is_float = jnp.issubdtype(leaf.dtype, jnp.inexact)
    return (leaf * np.asarray(scale, leaf.dtype)).astype(leaf.dtype) if is_float else leaf


def _expected(
    case: CheckCase, arguments: SequenceArguments, size: float
) -> tuple[SequenceResult, dict[str, float]]:
    """Returns the result of single steps, and the tolerances of its leaves.

    The slope of a saturated gate is 1 minus nearly 1, whose error is that of 1, however small it
    is: a gradient may be wrong as one of gates that are not saturated, times the size of the state.
    """

    def run(arguments):
        return run_single_steps(case, arguments, case.mask, case.reverse)

    with np.errstate(all="ignore"):
        tolerances = estimate_tolerances(run, arguments, EPSILON, factor=32)
    for name, tolerance in case.harness.tolerances(case.rows, case.steps).items():
        if name.startswith("gradient"):
            tolerances[name] += size * tolerance
    return run(arguments), tolerances


def _record_states(case: CheckCase, steps: int) -> dict[str, np.ndarray]:
    """Returns the real parts of the state of two rows after each of many steps."""
    rows, variables = 2, case.harness.variables()
    inputs = case.harness.inputs(rows, 64)
    state, history = case.harness.initial_state(rows), []
    for step in range(steps):
        history.append(named_leaves(state))
        state, _ = case.harness.step(variables, state, inputs[:, step % 64])
    return {
        name: np.stack([np.asarray(leaves[name]).ravel() for leaves in history])
        for name, leaf in named_leaves(to_numpy(state)).items()
        if leaf.dtype.kind in "iuf" or leaf.dtype == jnp.bfloat16
    }


def _find_end(values: np.ndarray, dtype: Any) -> str | None:
    """Returns how a count in a dtype ends; None if no entry counts, or its count goes on.

    Args:
      values: of some entries after each step, `[steps, entries]`.
      dtype: of the count.
    """
    changes = np.diff(values, axis=0)
    for entry in range(values.shape[1]):
        change = changes[:, entry]
        first_changes = change[:EARLY_STEPS]
        moved = first_changes[first_changes != 0]
        if not moved.size or not np.isfinite(values[:, entry]).all():
            continue
        unit = moved[np.abs(moved).argmin()]
        if (moved * unit < 0).any() or np.abs(moved).max() > 2 * abs(unit):
            continue
        if jnp.issubdtype(dtype, jnp.integer):
            period = 2.0 ** jnp.iinfo(dtype).bits
            wraps = np.flatnonzero(change == unit - np.sign(unit) * period)
            if wraps.size:
                start, end = values[wraps[0] : wraps[0] + 2, entry]
                return f"and goes from {start:g} to {end:g} at step {wraps[0] + 1}"
            continue
        last = values[-1, entry]
        stands = not change[-len(change) // 4 :].any()
        if stands and float(np.asarray(last + unit).astype(dtype)) == last:
            return f"and stops at {last:g}, where adding {unit:g} changes nothing"
    return None
