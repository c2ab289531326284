"""The law of the mask, for every engine in both directions: values and gradients."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax.testing.comparison import (
    host,
    named,
    require_equal,
    require_finite,
    require_same_bits,
    require_zero,
)
from rnnjax.testing.mask_patterns import moved, sorted_to
from rnnjax.testing.sequence_result import SequenceResult, pulling, stream_of
from rnnjax.testing.test_case import CheckCase

JUNK = (-3.5, 1e30, np.inf, -np.inf, np.nan)

GUARDED = ("fused", "pallas")
"""The engines that read what project gives, and obey the mask themselves."""


def rows(case: CheckCase) -> None:
    given = case.given
    expected = case.run()
    for parity in (0, 1):
        others = np.arange(case.rows) % 2 == parity

        def changed(leaf, others=others):
            if not jnp.issubdtype(leaf.dtype, jnp.inexact):
                return leaf
            return np.where(others.reshape(-1, *[1] * (leaf.ndim - 1)), leaf * -3 + 1, leaf)

        found = case.run(
            inputs=changed(given.inputs),
            state=_other_rows(case, others),
            cotangents=given.cotangents,
        )
        require_same_bits(
            found.rows(~others).leaves(),
            expected.rows(~others).leaves(),
            "because another row changed",
        )
    if case.training:
        return  # What is drawn for a row is drawn for its place.
    begin = named(case.bench.begin(case.rows))
    first = {name: np.broadcast_to(leaf[:1], leaf.shape) for name, leaf in begin.items()}
    require_same_bits(
        _initial(begin), _initial(first), "as in the first row, without an initial state"
    )
    order = np.roll(np.arange(case.rows), 1)
    shuffled = case.run(
        case.mask[order],
        inputs=given.inputs[order],
        state=jax.tree.map(lambda leaf: leaf[order], given.state),
        cotangents=jax.tree.map(lambda leaf: leaf[order], given.cotangents),
    )
    back = np.argsort(order)
    case.close(shuffled.rows(back), expected.rows(slice(None)), "in another order of the rows")


def empty_rows(case: CheckCase) -> None:
    empty = ~case.mask.any(axis=1)
    result = case.run()
    nothing = result.rows(empty)
    require_equal(
        SequenceResult(final=nothing.final).leaves(),
        SequenceResult(final=jax.tree.map(lambda leaf: leaf[empty], case.given.state)).leaves(),
        "the initial state of a row with no real step",
    )
    require_equal(
        SequenceResult(state=nothing.state).leaves(),
        SequenceResult(
            state=jax.tree.map(lambda leaf: leaf[empty], case.given.cotangents[0])
        ).leaves(),
        "what is pulled back at the final state of a row with no real step",
    )
    require_finite(result._replace(final=None).leaves(), "with masked steps")


def masked_steps(case: CheckCase) -> None:
    outputs = case.run().outputs
    require_zero({"outputs": _at_masked(case, outputs)}, "at masked steps")


def junk(case: CheckCase) -> None:
    clean = case.run()
    for value in JUNK:
        littered = np.where(_aligned(case.mask, case.given.inputs), case.given.inputs, value)
        found = case.run(inputs=littered.astype(np.float32))
        require_same_bits(
            found.leaves(), clean.leaves(), f"because the inputs at masked steps are {value}"
        )
    if case.engine in GUARDED:
        clean = _direct(case, 0.0)
        for value in JUNK:
            require_same_bits(
                _direct(case, value).leaves(),
                clean.leaves(),
                f"because what project gives is {value} at masked steps",
            )


def masked_gradient(case: CheckCase) -> None:
    because = "at masked steps"
    found = {"gradient of inputs": _at_masked(case, case.run().inputs)}
    require_zero(found, because)
    if case.engine in GUARDED:
        projected = jax.tree.map(lambda leaf: _at_masked(case, leaf), _direct(case, 0.0).inputs)
        require_zero(SequenceResult(inputs={"projected": projected}).leaves(), because)


def padding(case: CheckCase) -> None:
    expected = case.run()
    final, outputs = case.given.cotangents
    for side, other in (
        ("right", sorted_to("start", case.mask)),
        ("left", sorted_to("end", case.mask)),
        ("other", case.mask[:, ::-1]),
    ):
        found = case.run(
            other,
            inputs=moved(case.given.inputs, case.mask, other),
            cotangents=(final, moved(outputs, case.mask, other)),
        )
        case.close(
            found._replace(
                outputs=moved(found.outputs, other, case.mask),
                inputs=moved(found.inputs, other, case.mask),
            ),
            expected,
            f"with {side} padding",
        )


def size(case: CheckCase) -> None:
    if case.training:
        if case.engine in GUARDED:  # Draws are of the size of the batch: only the mask can go.
            full = np.ones_like(case.mask)
            case.close(case.run(kind="no mask"), case.run(full), "as with all steps real")
        return
    few, real = max(1, case.rows - 2), max(1, case.steps - 2)
    given, (final, outputs) = case.given, case.given.cotangents

    def first(leaf):
        return leaf[:few]

    small = case.run(
        kind="no mask",
        inputs=given.inputs[:few, :real],
        state=jax.tree.map(first, given.state),
        cotangents=(jax.tree.map(first, final), outputs[:few, :real]),
    )
    begin = jax.tree.map(first, case.bench.begin(case.rows))
    require_same_bits(
        _initial(named(case.bench.begin(few))),
        _initial(named(begin)),
        f"as in a batch of {case.rows}, without an initial state",
    )
    mask = np.broadcast_to(np.arange(case.steps) < real, case.mask.shape)
    kept = (np.arange(case.rows) < few).astype(np.float32)
    large = case.run(
        mask,
        cotangents=jax.tree.map(
            lambda leaf: leaf * kept.reshape(-1, *[1] * (leaf.ndim - 1)), given.cotangents
        ),
    )
    expected = large.rows(slice(few))._replace(parameters=large.parameters)
    expected = expected._replace(
        outputs=expected.outputs[:, :real], inputs=expected.inputs[:, :real]
    )
    case.close(
        small,
        expected,
        f"as padded to {case.steps} steps in a batch of {case.rows}",
    )


def _initial(leaves: dict[str, Any]) -> dict[str, Any]:
    return {f"initial state.{name}" if name else "initial state": leaves[name] for name in leaves}


def _other_rows(case: CheckCase, others: np.ndarray) -> Any:
    """Returns the state with some rows of another one."""
    state, other = case.given.state, case.bench.state(case.rows, 6, case.training)
    return jax.tree.map(
        lambda a, b: np.where(others.reshape(-1, *[1] * (a.ndim - 1)), b, a), state, other
    )


def _direct(case: CheckCase, litter: float) -> SequenceResult:
    """Returns what the cell's own engine does with what stands at masked steps.

    The layer replaces inputs at masked steps, so that an engine rarely sees junk; but the mask is
    its own to obey. In place of the gradient of the inputs stands that of what project gives.
    """
    subject, reverse = case.subject, case.reverse

    def whole(cell, inputs, litter, extra, mask, state):
        def littered(leaf, more):
            return jnp.where(_aligned(mask, leaf), leaf, litter.astype(leaf.dtype)) + more

        projected = jax.tree.map(littered, cell.project(inputs), extra)
        return getattr(cell, case.engine)(state, projected, mask, reverse)

    def make():
        def run(variables, inputs, litter, extra, mask, state, cotangents, key):
            def apply(variables, extra, mask, state):
                return subject.cell.apply(
                    variables,
                    inputs,
                    litter,
                    extra,
                    mask,
                    state,
                    rngs=stream_of(key),
                    method=whole,
                )

            return pulling(apply)(variables, extra, mask, state, cotangents)

        return run

    given, variables = case.given, case.bench.variables()
    shapes = jax.eval_shape(lambda: subject.cell.apply(variables, given.inputs, method="project"))
    extra = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    run = case.bench.program(("whole", case.engine, reverse), make)
    state, cotangents = given.state, given.cotangents
    litter_ = np.float32(litter)
    return host(
        run(variables, given.inputs, litter_, extra, case.mask, state, cotangents, given.key)
    )


def _at_masked(case: CheckCase, values: np.ndarray) -> np.ndarray:
    """Returns values with zeros at real steps."""
    return np.where(_aligned(case.mask, values), np.zeros_like(values), values)


def _aligned(mask: Any, values: Any) -> Any:
    return mask.reshape(mask.shape + (1,) * (values.ndim - mask.ndim))
