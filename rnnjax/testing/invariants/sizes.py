"""Invariants of larger batches: engines and projections work in chunks, windows and tiles."""

from typing import Any

import jax
import numpy as np

from rnnjax.cells.base import is_broadcast
from rnnjax.testing.assertions import (
    EPSILON,
    assert_bits_equal,
    assert_close,
    named_leaves,
    to_numpy,
)
from rnnjax.testing.check_case import CheckCase
from rnnjax.testing.harness import ALTERNATIVE_SEED, DROPOUT_SEED
from rnnjax.testing.invariant import BOTH, invariant
from rnnjax.testing.mask_patterns import align_axes
from rnnjax.testing.projections import projection_function
from rnnjax.testing.sequence_result import (
    SequenceArguments,
    SequenceResult,
    estimate_tolerances,
)
from rnnjax.testing.single_steps import (
    first_rows,
    run_single_steps,
    single_steps,
    vmap_single_rows,
)

ROW_COUNTS, FEW_ROW_COUNTS = (1, 2, 3, 5, 8, 9, 16, 24, 32, 64, 128), (9, 32)
"""Rows of a single step, in a full and in a quick check."""

STEP_COUNTS, FEW_STEP_COUNTS = (1, 2, 3, 7, 8, 16, 33, 64, 128, 130, 257), (1, 8, 33, 64, 257)
"""Steps of a projection, in a full and in a quick check."""


@invariant(
    "a step of any number of rows equals that of each row alone",
    cause="rows that are computed in tiles and share a state, or statistics across rows where "
    "their number divides by that of a tile",
    any_size=False,
    training=True,
)
def row_counts(case: CheckCase) -> None:
    counts = FEW_ROW_COUNTS if case.adapter.quick else ROW_COUNTS
    if case.training:
        for rows in counts:
            _assert_rows_apart(case, rows)
        return
    adapter, variables = case.adapter, case.harness.variables()
    most = max(counts)
    inputs, state = case.harness.inputs(most, 1)[:, 0], _many_states(case, most)
    single = case.harness.compiled("single rows", lambda: vmap_single_rows(adapter.step, 2))
    expected_state, expected_output = to_numpy(single(variables, state, inputs))
    tolerances = case.harness.cached(
        "tolerances of single rows", lambda: _step_tolerances(case, single, state, inputs)
    )
    first = named_leaves({"initial state": case.harness.initial_state(1)})
    for rows in counts:
        context = f"for {rows} rows, as for each alone"
        initial = named_leaves({"initial state": case.harness.initial_state(rows)})
        assert_bits_equal(
            initial, {name: np.repeat(first[name], rows, axis=0) for name in first}, context
        )
        actual = case.harness.step(variables, first_rows(state, rows), inputs[:rows])
        expected = first_rows((expected_state, expected_output), rows)
        assert_close(
            SequenceResult(*to_numpy(actual)).leaves(),
            SequenceResult(*expected).leaves(),
            tolerances,
            context,
        )


@invariant(
    "the projection of any number of rows and steps equals that of each step alone",
    cause="a projection that reads neighbours or statistics of the batch where there are many "
    "steps or rows: a window, a chunk, a tile",
    any_size=False,
)
def projection_sizes(case: CheckCase) -> None:
    adapter = case.adapter
    project, reads_states = projection_function(case)

    counts = FEW_STEP_COUNTS if adapter.quick else STEP_COUNTS
    rows, steps = 16, max(counts)
    inputs, variables = case.harness.inputs(rows, steps), case.harness.variables()
    states = None
    if reads_states:
        # A state for each step: those of the rows, turned and shrunk.
        states = jax.tree.map(
            lambda leaf: np.stack(
                [np.roll(leaf, step, axis=0) / (1 + step) for step in range(steps)], axis=1
            ).astype(leaf.dtype),
            case.harness.state(rows),
        )
    single = case.harness.compiled(
        "single projections",
        lambda: jax.vmap(vmap_single_rows(project, 2), in_axes=(None, 1, 1), out_axes=1),
    )
    expected = to_numpy(single(variables, states, inputs))
    compiled = case.harness.compiled("projections", lambda: project)
    for index, count in enumerate(counts):
        for rows in (16, 9) if not adapter.quick else ((16, 9)[index % 2],):

            def part(leaf, rows=rows, count=count):
                # The vmap over single rows and steps repeats a part that has neither.
                if is_broadcast(leaf):
                    return jax.tree.map(lambda value: value[0, 0], leaf)
                return leaf[:rows, :count]

            actual = compiled(variables, jax.tree.map(part, states), inputs[:rows, :count])
            assert_close(
                named_leaves(to_numpy(actual)),
                named_leaves(jax.tree.map(part, expected, is_leaf=is_broadcast)),
                None,
                f"for {rows} rows and {count} steps, as for each step of a row alone",
            )


@invariant(
    "the layer equals single steps of single rows at every size, values and gradients",
    cause="an engine that works in chunks, windows or tiles and forgets the state between two of "
    "them, or leaves out the last one where it is not full",
    directions=BOTH,
    all_masks=True,
    all_sizes=True,
)
def sequence_sizes(case: CheckCase) -> None:
    if case.adapter.quick and (case.engine == "scan" or case.reverse != (case.rows % 2 == 1)):
        # A quick check compares each size in one direction. The scan computes the projection and
        # the steps that 'projection_sizes' and 'row_counts' compare.
        return
    expected, tolerances = single_steps(case), _sequence_tolerances(case)
    masks = [True, False] if case.mask.all() and not case.reverse else [True]
    for pass_mask in masks:
        result = case.run(pass_mask=pass_mask)
        deviation = assert_close(
            result.leaves(), expected.leaves(), tolerances, "as by single steps of single rows"
        )
        case.harness.largest_deviation = max(case.harness.largest_deviation, deviation)


def _assert_rows_apart(case: CheckCase, rows: int) -> None:
    """Asserts that for one dropout key the last row influences no other."""
    variables = case.harness.variables()
    state, inputs = (
        case.harness.initial_state(rows, DROPOUT_SEED),
        case.harness.inputs(rows, 1)[:, 0],
    )
    key, last = jax.random.key(ALTERNATIVE_SEED), np.arange(rows) == rows - 1
    changed = np.where(align_axes(last, inputs), inputs * -3 + 1, inputs)
    unchanged, modified = (
        SequenceResult(*to_numpy(case.harness.step(variables, state, values, key)))
        .rows(~last)
        .leaves()
        for values in (inputs, changed)
    )
    assert_bits_equal(modified, unchanged, f"for {rows} rows, because the last one changed")


def _many_states(case: CheckCase, rows: int) -> Any:
    """Returns reachable states of a batch, put together from batches of the case's rows."""
    return case.harness.cached(
        ("many states", rows),
        lambda: jax.tree.map(
            lambda *leaves: np.concatenate(leaves)[:rows],
            *(case.harness.state(case.rows, seed=20 + n) for n in range(-(-rows // case.rows))),
        ),
    )


def _step_tolerances(case: CheckCase, step: Any, state: Any, inputs: Any) -> dict[str, float]:
    def run(arguments):
        variables, inputs, state, *_ = arguments
        return SequenceResult(*to_numpy(step(variables, state, inputs)))

    arguments = SequenceArguments(case.harness.variables(), inputs, state, None)
    return estimate_tolerances(run, arguments, EPSILON, factor=32)


def _sequence_tolerances(case: CheckCase) -> dict[str, float]:
    """Returns the float32 tolerances of the leaves of a result of this size."""
    full = np.ones_like(case.mask)

    def compute():
        def run(arguments):
            return run_single_steps(case, arguments, full, case.reverse)

        return estimate_tolerances(run, case.arguments, EPSILON, factor=32)

    return case.harness.cached(("size tolerances", *full.shape, case.reverse), compute)
