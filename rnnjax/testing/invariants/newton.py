"""The invariant of the engine 'newton', which solves all steps of a cell at once."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax.errors import InputError
from rnnjax.layers import RNN
from rnnjax.testing.assertions import (
    NotApplicableError,
    assert_bits_equal,
    assert_close,
    to_numpy,
)
from rnnjax.testing.check_case import CheckCase
from rnnjax.testing.invariant import BOTH, invariant
from rnnjax.testing.mask_patterns import align_axes, generate_masks
from rnnjax.testing.sequence_result import (
    SequenceResult,
    differentiable_leaves,
    layer_variables,
    merge_leaves,
    with_gradients,
)

SIZES = ((3, 1), (4, 2), (9, 33))
"""Further rows and steps of a full check."""


@invariant(
    "the engine newton equals the scan of each document, and a bad row changes no other",
    cause="`jacobian` is 'blocks', and a unit of a step reads another unit; or a step whose values "
    "or derivatives are not finite somewhere near its states",
    directions=BOTH,
    all_masks=True,
)
def newton(case: CheckCase) -> None:
    if case.engine != "scan" or (case.adapter.quick and case.reverse):
        return  # One case for all engines; the layer turns the steps around, whatever the cell.
    if case.adapter.quick and {"associative", "chunkwise"} & {*case.engines}:
        raise NotApplicableError("a linear recurrence is one iteration; a full check compares it")
    try:
        _check(case)
    except InputError as error:  # The engine refuses the cell.
        raise NotApplicableError(str(error)) from error
    if case.mask.all() and not case.adapter.quick:
        for rows, steps in SIZES:
            mask = generate_masks(rows, steps)[-1]
            _check(dataclasses.replace(case, rows=rows, steps=steps, mask=mask))


def _check(case: CheckCase) -> None:
    """Compares Newton's method with the scan at one size, with resets and NaN in padding."""
    resets = _resets(case)
    inputs = np.where(align_axes(case.mask, case.arguments.inputs), case.arguments.inputs, np.nan)
    actual = _run(case, inputs.astype(np.float32), resets)
    expected = _documents(case, resets).leaves()
    tolerances = _tolerances(case, expected)
    context = "by the engine newton, as by the scan"
    deviation = assert_close(actual.leaves(), expected, tolerances, context)
    case.harness.largest_deviation = max(case.harness.largest_deviation, deviation)
    broken = inputs.copy()
    broken[0, case.step_order[case.steps // 2]] = np.nan
    assert_bits_equal(
        _run(case, broken.astype(np.float32), resets).rows(slice(1, None)).leaves(),
        actual.rows(slice(1, None)).leaves(),
        "by the engine newton, because the inputs of the first row are NaN",
    )


def _tolerances(case: CheckCase, expected: dict[str, Any]) -> dict[str, float]:
    """Returns the tolerances of a run, those of a learned initial state included.

    Where the state is passed, such parameters have no gradient and no rounding; with resets theirs
    is a sum of gradients of the initial state. A part of the state in another precision is solved
    in float32, while the scan rounds it at every step.
    """
    tolerances = case.harness.tolerances(case.rows, case.steps)
    states = [tolerances[name] for name in tolerances if "initial state" in name]
    learned = case.rows * max(states, default=0.0)
    tolerances = {name: tolerance or learned for name, tolerance in tolerances.items()}
    for name in tolerances:
        if expected[name].dtype == jnp.bfloat16:
            largest = float(np.abs(expected[name].astype(np.float32)).max(initial=0.0))
            tolerances[name] += case.steps * float(jnp.finfo(jnp.bfloat16).eps) * largest
    return tolerances


def _resets(case: CheckCase) -> np.ndarray:
    """Returns at most one reset in each row."""
    places = np.random.default_rng(9).integers(0, case.steps + 1, (case.rows, 1))
    return np.arange(case.steps)[None] == places


def _run(case: CheckCase, inputs: np.ndarray, resets: np.ndarray) -> SequenceResult:
    """Runs the layer forward and backward by the engine 'newton'."""

    def make():
        layer = RNN(case.adapter.cell, reverse=case.reverse, engine="newton")

        def apply(variables, inputs, mask, state, resets):
            return layer.apply(variables, inputs, mask, state, resets)

        return with_gradients(apply)

    run = case.harness.compiled(("newton", case.reverse), make)
    variables, _, state, cotangents, _ = case.arguments
    return to_numpy(run(variables, inputs, case.mask, state, cotangents, resets))


def _documents(case: CheckCase, resets: np.ndarray) -> SequenceResult:
    """Returns the result by a scan of each of the two documents of a row.

    The one that is read first begins from the passed state, the other one from the cell's default.
    """
    from_reset = np.cumsum(resets, axis=1) > 0
    if case.reverse:
        is_single = np.asarray(from_reset.all(axis=1) | ~from_reset.any(axis=1))
        is_first = from_reset | is_single[:, None]
    else:
        is_single, is_first = ~from_reset.any(axis=1), ~from_reset
    final, outputs = case.arguments.cotangents

    def scan(is_read, is_last, state):
        weights = is_last.astype(np.float32)
        cotangents = jax.tree.map(lambda leaf: leaf * align_axes(weights, leaf), final)
        return case.run(case.mask & is_read, state=state, cotangents=(cotangents, outputs))

    first = scan(is_first, is_single, case.arguments.state)
    second = scan(~is_first, ~is_single, case.harness.initial_state(case.rows))

    def select(single, last):
        return np.where(align_axes(is_single, single), single, last)

    add: Any = np.add
    parameters = jax.tree.map(add, first.parameters, second.parameters)
    parameters = jax.tree.map(add, parameters, _initial_gradient(case, second.state))
    return SequenceResult(
        final=jax.tree.map(select, first.final, second.final),
        outputs=first.outputs + second.outputs,
        parameters=parameters,
        inputs=first.inputs + second.inputs,
        state=first.state,
    )


def _initial_gradient(case: CheckCase, cotangents: Any) -> Any:
    """Returns the gradient of the parameters through the cell's default initial state."""
    variables = case.harness.variables()

    def initial_state(leaves):
        state = case.adapter.initial_state(merge_leaves(leaves, variables), (case.rows,))
        return differentiable_leaves(state)

    _, pull_back = jax.vjp(initial_state, differentiable_leaves(variables))
    return layer_variables(to_numpy(pull_back(cotangents)[0]))
