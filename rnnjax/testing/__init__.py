"""Conformance kit: checks a cell in every engine and direction.

    from rnnjax.testing import check_cell

    print(check_cell(MyCell(features=4)))

or, as one test for each check,

    @pytest.mark.parametrize("check", cell_checks(MyCell(features=4)), ids=str)
    def test_my_cell(check):
        check()

`cell_verdict` returns the same as data, violation included, and raises none. A check that cannot
hold for a cell is skipped with a reason, by `skip` or by the class:

    class SpikingCell(Cell):
        conformance_skips = {"finite_differences": "surrogate gradient"}

Larger batches, up to 16 rows and 257 steps, are compared with single steps of single rows, and
initial parameters with those of a second process. In a test suite of many cells `quick=True`
compares a part of the sizes, in one process.

Random numbers are checked for their rng stream and their dependence on keys, rows and steps; for
one dropout key, training obeys the same invariants as an evaluation. The scale of a dropout, its
factor 1 / (1 - rate), is not checked: the outputs of a cell do not reveal it.

No test runner is needed. `INVARIANTS` lists the invariants from cause to consequence: a mistake
often violates several of them, and the first violation is the closest to its cause.
"""

from rnnjax.testing.conformance import CellCheck, cell_checks, cell_verdict, check_cell
from rnnjax.testing.conformance_report import CellError, CheckResult, ConformanceReport
from rnnjax.testing.invariant import Invariant
from rnnjax.testing.invariants import INVARIANTS

__all__ = [
    "INVARIANTS",
    "CellCheck",
    "CellError",
    "CheckResult",
    "ConformanceReport",
    "Invariant",
    "cell_checks",
    "cell_verdict",
    "check_cell",
]
