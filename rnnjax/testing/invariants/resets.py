"""The invariant of resets: documents of one row are read apart, by every engine that takes them."""

import numpy as np

from rnnjax.testing.assertions import EPSILON, assert_close
from rnnjax.testing.check_case import CheckCase
from rnnjax.testing.invariant import BOTH, invariant
from rnnjax.testing.sequence_result import estimate_tolerances
from rnnjax.testing.single_steps import run_single_steps

DOCUMENT_LENGTH = 6
"""Mean number of steps of a document."""


@invariant(
    "a reset begins a document from the initial state, in values and gradients",
    cause="an engine that reads a reset as a decay of zero and forgets that the initial state is "
    "not zero, that a masked step may begin a document, or that its chunks go on with the state "
    "of the last document",
    directions=BOTH,
    all_masks=True,
    all_sizes=True,
)
def document_resets(case: CheckCase) -> None:
    if not case.takes_resets:
        return
    if case.adapter.quick and (case.engine == "scan" or case.reverse != (case.rows % 2 == 1)):
        # As in 'sequence_sizes'. For the scan resets are the layer's concern.
        return
    shape = case.mask.shape
    resets = np.random.default_rng([9, *shape]).random(shape) < 1 / DOCUMENT_LENGTH

    def compute_tolerances():
        full = np.ones_like(case.mask)
        return estimate_tolerances(
            lambda arguments: run_single_steps(case, arguments, full, case.reverse, resets),
            case.arguments,
            EPSILON,
            factor=32,
        )

    deviation = assert_close(
        case.run(resets=resets).leaves(),
        run_single_steps(case, case.arguments, case.mask, case.reverse, resets).leaves(),
        case.harness.cached(("reset tolerances", *shape, case.reverse), compute_tolerances),
        "by single steps, each document from the initial state",
    )
    case.harness.largest_deviation = max(case.harness.largest_deviation, deviation)
