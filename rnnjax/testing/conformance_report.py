"""What the checks found: an error about one invariant, or a table of all."""

import dataclasses
from collections.abc import Sequence

from rnnjax.testing.cell_adapter import describe_cell
from rnnjax.testing.invariants.catalog import Invariant
from rnnjax.testing.test_case import CheckCase


class CellError(AssertionError):
    """A cell breaks an invariant. The message says which, where, by how much, and how to see it.

    Attributes:
      check: the name of the invariant.
      case: the smallest case that was found to break it.
    """

    def __init__(self, check: str, invariant: Invariant, case: CheckCase, broken: Exception):
        self.check = check
        self.case = case
        lines = [
            f"{describe_cell(case.subject.cell)} breaks {check}",
            f"invariant: {invariant.says}",
            f"broken:    {broken}",
        ]
        if case.where:
            lines.append(f"where:     {case.where}")
        label = "smallest: " if invariant.any_size else "at:       "
        lines.append(f"{label} {case.lines(invariant.masked)}")
        super().__init__("\n".join(lines))


@dataclasses.dataclass(frozen=True)
class Line:
    """What one check found.

    Attributes:
      check: its name.
      result: 'passed' or 'skipped'.
      says: what holds, or why it was skipped.
      seconds: that it took.
    """

    check: str
    result: str
    says: str
    seconds: float


@dataclasses.dataclass(frozen=True)
class Report:
    """What all the checks of a cell found.

    Attributes:
      cell: as a call that makes it.
      lines: one for each check.
      largest: of all differences that rounding may explain, as a part of what is allowed.
    """

    cell: str
    lines: Sequence[Line]
    largest: float

    def __str__(self) -> str:
        width = max(len(line.check) for line in self.lines)
        table = [f"{line.check:{width}}  {line.result:7}  {line.says}" for line in self.lines]
        passed = sum(line.result == "passed" for line in self.lines)
        seconds = sum(line.seconds for line in self.lines)
        total = f"{passed} passed, {len(self.lines) - passed} skipped in {seconds:.1f} s"
        total += f"; differences are at most {self.largest:.0%} of what rounding allows"
        return "\n".join([self.cell, *table, total])
