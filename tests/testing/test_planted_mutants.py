"""Planted mistakes in sizes, draws and numbers, and correct cells that look like mistakes.

Each is checked here by the check that is to find it, and only a part of them: the campaign in
`experiments/kit` runs all checks on all of them, at all sizes, and records which one fails first.
"""

import pytest

from rnnjax.cells import CELLS
from rnnjax.testing import cell_checks

from . import (  # noqa: F401  registers their mutants
    draw_mutants,
    matrix_mutants,
    number_mutants,
    size_mutants,
    zoneout_mutants,
)
from .honest_cells import (
    BackwardSpikingCell,
    CappedFloatCell,
    DetachedSpectralNormCell,
    DrawnSpectralNormCell,
    LeakCell,
    MaximumCell,
    RingCell,
    SilentUnitsCell,
    SpikingCell,
    TriangularGatesCell,
    TwoSpeedsCell,
    correct_cells,
)
from .mutants import PLANTED

pytestmark = pytest.mark.usefixtures("implicit_promotion")

SAMPLE = [name for name in sorted(PLANTED) if PLANTED[name].quick][::2]

LOOK_ALIKES = {
    TriangularGatesCell: ("trainable_parameters",),
    SilentUnitsCell: ("trainable_parameters",),
    SpikingCell: ("trainable_parameters", "finite_differences"),
    BackwardSpikingCell: ("zoneout_parts", "finite_differences", "bfloat16_gradients"),
    DrawnSpectralNormCell: ("deterministic_evaluation", "dropout_keys"),
    DetachedSpectralNormCell: ("finite_differences",),
    MaximumCell: ("finite", "new_cell", "row_counts"),
    RingCell: ("counters",),
    CappedFloatCell: ("counters",),
    LeakCell: ("dropout_rate",),
    TwoSpeedsCell: ("zoneout_parts",),
}
"""Correct cells, and the checks that could take them for mistaken ones."""


def run_checks(cell, names):
    """Returns the results of some checks."""
    checks = cell_checks(cell, quick=True)
    return [check.result() for check in checks if check.name in names]


@pytest.mark.parametrize("name", SAMPLE)
def test_check_detects_planted_mistake(name):
    mutant = PLANTED[name]
    (result,) = run_checks(mutant.cell, [mutant.check])
    assert result.status == "failed"
    assert mutant.message in str(result.error)


@pytest.mark.parametrize("cell", LOOK_ALIKES)
def test_correct_cell_is_no_false_alarm(cell):
    results = run_checks(cell(features=4), LOOK_ALIKES[cell])
    assert not [str(result.error) for result in results if result.error]


def test_every_mistake_stands_beside_a_correct_cell():
    correct = {*correct_cells(), *CELLS.values()}
    assert {mutant.twin for mutant in PLANTED.values()} <= correct
    assert len(PLANTED) >= 40
