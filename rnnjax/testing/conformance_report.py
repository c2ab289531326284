"""Outcome of conformance checks: the error of a violation, and a table of results."""

import dataclasses
from collections.abc import Sequence

from rnnjax.testing.cell_adapter import describe_cell
from rnnjax.testing.check_case import CheckCase
from rnnjax.testing.invariant import Invariant


class CellError(AssertionError):
    """A cell violates an invariant; the message holds the difference and the smallest case.

    Attributes:
      check: name of the invariant.
      case: the smallest case that violates it.
    """

    def __init__(self, invariant: Invariant, case: CheckCase, violation: Exception):
        self.check = invariant.name
        self.case = case
        lines = [
            f"{describe_cell(case.adapter.cell)} violates {invariant.name}",
            f"invariant: {invariant.statement}",
            f"violation: {violation}",
        ]
        if case.location:
            lines.append(f"where:     {case.location}")
        label = "smallest: " if invariant.any_size else "at:       "
        lines.append(f"{label} {case.describe(invariant.all_masks)}")
        super().__init__("\n".join(lines))


@dataclasses.dataclass(frozen=True)
class CheckResult:
    """The result of a check.

    Attributes:
      check: name of the invariant.
      status: 'passed' or 'skipped'.
      message: the statement of the invariant, or the reason for skipping it.
      seconds: duration of the check.
    """

    check: str
    status: str
    message: str
    seconds: float


@dataclasses.dataclass(frozen=True)
class ConformanceReport:
    """The results of all checks of a cell, printed as a table.

    Attributes:
      cell: its constructor call.
      results: of the checks, in order.
      largest_deviation: the largest difference as a fraction of its tolerance for rounding.
    """

    cell: str
    results: Sequence[CheckResult]
    largest_deviation: float

    def __str__(self) -> str:
        width = max(len(result.check) for result in self.results)
        rows = [f"{row.check:{width}}  {row.status:7}  {row.message}" for row in self.results]
        passed = sum(result.status == "passed" for result in self.results)
        seconds = sum(result.seconds for result in self.results)
        total = f"{passed} passed, {len(self.results) - passed} skipped in {seconds:.1f} s"
        total += f"; differences are at most {self.largest_deviation:.0%} of what rounding allows"
        return "\n".join([self.cell, *rows, total])
