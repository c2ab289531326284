"""The conformance kit: whether a cell is one, by every engine and in every direction.

    from rnnjax.testing import check_cell

    print(check_cell(MyCell(features=4)))

or, as one test for each check,

    @pytest.mark.parametrize("check", cell_checks(MyCell(features=4)), ids=str)
    def test_my_cell(check):
        check()

What a cell draws is looked at for where it comes from and what it depends on, and training, by one
key, for the same law as an evaluation. Its scale is not: whether an evaluation is the mean of
training (the 1 / (1 - rate) of a dropout) cannot be told through what a cell makes of it.

It needs no test runner. `INVARIANTS` is the table of what it looks at, from cause to consequence: a
mistake often breaks several checks, and the first that breaks says most about it.
"""

from rnnjax.testing.conformance import Check, cell_checks, check_cell
from rnnjax.testing.conformance_report import CellError, Line, Report
from rnnjax.testing.invariants.catalog import INVARIANTS, Invariant

__all__ = [
    "INVARIANTS",
    "CellError",
    "Check",
    "Invariant",
    "Line",
    "Report",
    "cell_checks",
    "check_cell",
]
