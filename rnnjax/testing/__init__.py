"""The conformance kit: whether a cell is one, by every engine and in every direction.

    from rnnjax.testing import check_cell

    print(check_cell(MyCell(features=4)))

It needs no test runner. `INVARIANTS` is the table of what it looks at.
"""

from rnnjax.testing.check import Check, cell_checks, check_cell
from rnnjax.testing.report import CellError, Line, Report
from rnnjax.testing.table import INVARIANTS, Invariant

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
