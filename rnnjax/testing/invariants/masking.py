"""Invariants of the mask: values and gradients of every engine, in both directions."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax.cells.base import is_broadcast
from rnnjax.testing.assertions import (
    assert_bits_equal,
    assert_equal,
    assert_finite,
    assert_zero,
    named_leaves,
    to_numpy,
)
from rnnjax.testing.check_case import CheckCase
from rnnjax.testing.invariant import BOTH, invariant
from rnnjax.testing.mask_patterns import align_axes, left_padded, move_steps, right_padded
from rnnjax.testing.sequence_result import SequenceResult, dropout_rngs, with_gradients

PADDING_VALUES = (-3.5, 1e30, np.inf, -np.inf, np.nan)

MASKED_ENGINES = ("fused", "pallas", "associative", "chunkwise")
"""The engines that read projected inputs and apply the mask themselves."""


@invariant(
    "rows do not influence each other, and their order does not matter",
    cause="a mean, norm, softmax or transpose over axis 0, the batch, instead of axis -1, the "
    "features",
    directions=BOTH,
    all_masks=True,
    training=True,
)
def row_independence(case: CheckCase) -> None:
    arguments = case.arguments
    expected = case.run()
    for parity in (0, 1):
        modified = np.arange(case.rows) % 2 == parity
        alternative = case.harness.state(case.rows, 6, case.training)
        result = case.run(
            inputs=np.where(
                align_axes(modified, arguments.inputs), arguments.inputs * -3 + 1, arguments.inputs
            ),
            state=jax.tree.map(
                lambda leaf, other_leaf, modified=modified: np.where(
                    align_axes(modified, leaf), other_leaf, leaf
                ),
                arguments.state,
                alternative,
            ),
        )
        assert_bits_equal(
            result.rows(~modified).leaves(),
            expected.rows(~modified).leaves(),
            "because another row changed",
        )
    if case.training:
        return  # A row's random numbers depend on its index.
    initial = named_leaves(case.harness.initial_state(case.rows))
    first_row = {name: np.broadcast_to(leaf[:1], leaf.shape) for name, leaf in initial.items()}
    assert_bits_equal(
        _label_initial(initial),
        _label_initial(first_row),
        "as in the first row, without an initial state",
    )
    order = np.roll(np.arange(case.rows), 1)
    shuffled = case.run(
        case.mask[order],
        inputs=arguments.inputs[order],
        state=jax.tree.map(lambda leaf: leaf[order], arguments.state),
        cotangents=jax.tree.map(lambda leaf: leaf[order], arguments.cotangents),
    )
    case.assert_close(
        shuffled.rows(np.argsort(order)),
        expected.rows(slice(None)),
        "in another order of the rows",
    )


@invariant(
    "a masked step outputs zero",
    cause="the engine multiplies by the mask before a bias or a residual is added, instead of "
    "selecting the final outputs",
    directions=BOTH,
    all_masks=True,
    training=True,
)
def masked_outputs(case: CheckCase) -> None:
    assert_zero({"outputs": _masked_only(case, case.run().outputs)}, "at masked steps")


@invariant(
    "a row with no real step returns its initial state, and gradients stay finite",
    cause="the engine updates the state at masked steps, by a decay or a bias that acts without an "
    "input",
    directions=BOTH,
    all_masks=True,
    training=True,
)
def empty_rows(case: CheckCase) -> None:
    empty = ~case.mask.any(axis=1)
    result = case.run()
    actual = result.rows(empty)
    expected_state, expected_gradient = jax.tree.map(
        lambda leaf: leaf[empty], (case.arguments.state, case.arguments.cotangents[0])
    )
    assert_equal(
        SequenceResult(final=actual.final).leaves(),
        SequenceResult(final=expected_state).leaves(),
        "the initial state of a row with no real step",
    )
    assert_equal(
        SequenceResult(state=actual.state).leaves(),
        SequenceResult(state=expected_gradient).leaves(),
        "the gradient of the final state of a row with no real step",
    )
    assert_finite(result._replace(final=None).leaves(), "with masked steps")


@invariant(
    "the gradient at masked steps is exactly zero",
    cause="the derivative of the engine does not set the gradient of masked inputs to zero",
    directions=BOTH,
    all_masks=True,
    training=True,
)
def masked_gradients(case: CheckCase) -> None:
    context = "at masked steps"
    assert_zero({"gradient of inputs": _masked_only(case, case.run().inputs)}, context)
    if case.engine in MASKED_ENGINES:
        gradients = _run_engine(case, 0.0).inputs
        projected = jax.tree.map(
            lambda leaf: None if is_broadcast(leaf) else _masked_only(case, leaf),
            gradients,
            is_leaf=is_broadcast,
        )
        assert_zero(SequenceResult(inputs={"projected": projected}).leaves(), context)


@invariant(
    "values at masked steps, even NaN, change no bit of a result or gradient",
    cause="the mask is applied by a product, and zero times NaN is NaN: select by jnp.where, "
    "before and after the step",
    directions=BOTH,
    all_masks=True,
    training=True,
)
def masked_values(case: CheckCase) -> None:
    inputs = case.arguments.inputs
    expected = case.run().leaves()
    for value in PADDING_VALUES:
        padded = np.where(align_axes(case.mask, inputs), inputs, value).astype(np.float32)
        assert_bits_equal(
            case.run(inputs=padded).leaves(),
            expected,
            f"because the inputs at masked steps are {value}",
        )
    if case.engine in MASKED_ENGINES:
        expected = _run_engine(case, 0.0).leaves()
        for value in PADDING_VALUES:
            assert_bits_equal(
                _run_engine(case, value).leaves(),
                expected,
                f"because the projected inputs at masked steps are {value}",
            )


@invariant(
    "padding right, left or in between gives the same results",
    cause="the engine counts steps by position instead of real steps, or takes the last column as "
    "the last step",
    directions=BOTH,
    all_masks=True,
)
def padding_side(case: CheckCase) -> None:
    expected = case.run()
    final, outputs = case.arguments.cotangents
    for side, mask in (
        ("right", right_padded(case.mask)),
        ("left", left_padded(case.mask)),
        ("mirrored", case.mask[:, ::-1]),
    ):
        result = case.run(
            mask,
            inputs=move_steps(case.arguments.inputs, case.mask, mask),
            cotangents=(final, move_steps(outputs, case.mask, mask)),
        )
        case.assert_close(
            result._replace(
                outputs=move_steps(result.outputs, mask, case.mask),
                inputs=move_steps(result.inputs, mask, case.mask),
            ),
            expected,
            f"with {side} padding",
        )


@invariant(
    "more padding, more rows, or no mask at all give the same results",
    cause="something divides by the number of rows or steps, padding included, or a constant has "
    "the size of one batch",
    directions=BOTH,
    training=True,
)
def batch_shape(case: CheckCase) -> None:
    if case.training:
        if case.engine in MASKED_ENGINES:  # Random numbers depend on the shape: only drop the mask.
            expected = case.run(np.ones_like(case.mask))
            case.assert_close(case.run(pass_mask=False), expected, "as with all steps real")
        return
    rows, steps = max(1, case.rows - 2), max(1, case.steps - 2)
    arguments, (final, outputs) = case.arguments, case.arguments.cotangents

    def first_rows(tree):
        return jax.tree.map(lambda leaf: leaf[:rows], tree)

    small = case.run(
        pass_mask=False,
        inputs=arguments.inputs[:rows, :steps],
        state=first_rows(arguments.state),
        cotangents=(first_rows(final), outputs[:rows, :steps]),
    )
    assert_bits_equal(
        _label_initial(named_leaves(case.harness.initial_state(rows))),
        _label_initial(named_leaves(first_rows(case.harness.initial_state(case.rows)))),
        f"as in a batch of {case.rows}, without an initial state",
    )
    weights = (np.arange(case.rows) < rows).astype(np.float32)
    large = case.run(
        np.broadcast_to(np.arange(case.steps) < steps, case.mask.shape),
        cotangents=jax.tree.map(
            lambda leaf: leaf * align_axes(weights, leaf), arguments.cotangents
        ),
    )
    expected = large.rows(slice(rows))._replace(parameters=large.parameters)
    expected = expected._replace(
        outputs=expected.outputs[:, :steps], inputs=expected.inputs[:, :steps]
    )
    context = f"as padded to {case.steps} steps in a batch of {case.rows}"
    case.assert_close(small, expected, context)


def _label_initial(leaves: dict[str, Any]) -> dict[str, Any]:
    return {f"initial state.{name}" if name else "initial state": leaves[name] for name in leaves}


def _run_engine(case: CheckCase, padding: float) -> SequenceResult:
    """Runs the cell's engine on projected inputs with a padding value at masked steps.

    The layer zeroes inputs at masked steps, so that an engine rarely sees other values there; yet
    it must apply the mask itself. The gradient of the inputs is that of the projected inputs.
    """
    adapter, reverse = case.adapter, case.reverse

    def run_cell(cell, inputs, padding, offset, mask, state):
        def pad(leaf, offset):
            if is_broadcast(leaf):
                return jax.tree.map(jnp.add, leaf, offset)
            values = jnp.where(align_axes(mask, leaf), leaf, padding.astype(leaf.dtype))
            return values + offset

        projected = jax.tree.map(pad, cell.project(inputs), offset, is_leaf=is_broadcast)
        return getattr(cell, case.engine)(state, projected, mask, reverse)

    def make():
        def run(variables, inputs, padding, offset, mask, state, cotangents, key):
            def apply(variables, offset, mask, state):
                return adapter.cell.apply(
                    variables,
                    inputs,
                    padding,
                    offset,
                    mask,
                    state,
                    rngs=dropout_rngs(key),
                    method=run_cell,
                )

            return with_gradients(apply)(variables, offset, mask, state, cotangents)

        return run

    arguments, variables = case.arguments, case.harness.variables()
    shapes = jax.eval_shape(
        lambda: adapter.cell.apply(variables, arguments.inputs, method="project")
    )
    offset = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    run = case.harness.compiled(("engine", case.engine, reverse), make)
    return to_numpy(
        run(
            variables,
            arguments.inputs,
            np.float32(padding),
            offset,
            case.mask,
            arguments.state,
            arguments.cotangents,
            arguments.key,
        )
    )


def _masked_only(case: CheckCase, values: np.ndarray) -> np.ndarray:
    """Zeroes the real steps."""
    return np.where(align_axes(case.mask, values), np.zeros_like(values), values)
