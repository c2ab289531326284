"""Outcome of conformance checks: the error of a violation, and a table of results."""

import dataclasses
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from rnnjax.testing.assertions import ViolationError
from rnnjax.testing.cell_adapter import describe_cell
from rnnjax.testing.check_case import CheckCase
from rnnjax.testing.exception_site import find_site, usual_causes
from rnnjax.testing.invariant import Invariant
from rnnjax.testing.mask_patterns import format_mask
from rnnjax.testing.picture import PARAMETERS, draw_differences

Status = Literal["passed", "failed", "skipped", "not applicable", "not run"]

_WIDTH = 100


class CellError(AssertionError):
    """A cell violates an invariant; the message holds causes, the smallest case and a picture.

    Attributes:
      check: name of the invariant.
      invariant: that is violated.
      case: the smallest case that violates it.
      violation: its message.
      causes: sentences, the most likely first.
      site: the line of the cell that raised an exception; None if none was raised.
      picture: lines of text that show where values of the first case differ.
      picture_size: rows and steps of that case; '' if the check makes other batches.
    """

    def __init__(
        self,
        invariant: Invariant,
        case: CheckCase,
        violation: ViolationError,
        smallest: tuple[CheckCase, ViolationError],
    ):
        """Describes a violation.

        Args:
          invariant: that is violated.
          case: the first that violates it, of which the picture and the shapes are.
          violation: of that case.
          smallest: the smallest case that violates it, and its violation.
        """
        self.check = invariant.name
        self.invariant = invariant
        self.case, smallest_violation = smallest
        raised = "was raised" in violation.kind and "was raised" in smallest_violation.kind
        exception = violation.__cause__ if raised else None
        self.violation = str(violation if exception else smallest_violation)
        self.site = find_site(exception, case.adapter.cell) if exception else None
        self.causes = [invariant.cause]
        if exception:
            self.causes = usual_causes(exception, self.site.source if self.site else "")
        ranks = {"gradient of inputs": 2 + len(case.adapter.inputs)}
        if violation.differences:
            names = ("outputs", "project", "read", "coefficients")
            ranks |= dict.fromkeys(names, case.arguments.cotangents[1].ndim)
        self.picture = draw_differences(violation.differences, ranks, case.mask)
        # Some checks make larger batches of their own.
        is_larger = any(len(entries) > case.rows for entries in _batches(violation.differences))
        self.picture_size = "" if is_larger else f"at {case.describe(with_mask=False)}"
        super().__init__("\n".join(self._lines(case)))

    def as_dict(self) -> dict[str, Any]:
        """Returns the violation as plain data: strings, numbers, lists and dicts."""
        case = self.case
        return {
            "check": self.check,
            "invariant": self.invariant.statement,
            "message": self.violation,
            "causes": self.causes,
            "raised_at": dataclasses.asdict(self.site) if self.site else None,
            "engine": case.engine,
            "reverse": case.reverse,
            "training": case.training,
            "smallest": {
                "is_minimized": self.invariant.any_size,
                "cell": describe_cell(case.adapter.cell),
                "inputs": list(case.adapter.inputs),
                "rows": case.rows,
                "steps": case.steps,
                "mask": format_mask(case.mask).splitlines() if self.invariant.all_masks else None,
            },
            "picture": self.picture,
        }

    def _lines(self, first_case: CheckCase) -> list[str]:
        case = self.case
        lines = [
            f"{describe_cell(first_case.adapter.cell)} violates {self.check}",
            f"invariant: {self.invariant.statement}",
            f"violation: {self.violation}",
        ]
        if len(self.causes) == 1:
            lines += _labelled("usually:   ", self.causes[0])
        else:
            lines.append("usually one of")
            for number, cause in enumerate(self.causes, start=1):
                lines += _labelled(f"        {number}. ", cause)
        if site := self.site:
            lines += [f"raised at: {site.file}:{site.line}, in {site.function}"]
            lines += [f"           {site.source}"] if site.source else []
            shapes = [f"{name}: {shape}" for name, shape in site.shapes.items()]
            lines += [f"{'' if index else 'shapes:':10} {row}" for index, row in enumerate(shapes)]
        if case.location:
            lines.append(f"where:     {case.location}")
        label = "smallest: " if self.invariant.any_size else "at:       "
        size, *mask = case.describe(self.invariant.all_masks).splitlines()
        if case.adapter is not first_case.adapter:
            inputs = ",".join(map(str, case.adapter.inputs))
            size = f"{describe_cell(case.adapter.cell)}, inputs {inputs}, {size}"
        if self.invariant.any_size or self.picture_size:
            lines += [f"{label} {size}", *mask]
        if self.picture:
            lines.append(f"differs:   {self.picture_size}".rstrip())
            lines += [f"  {line}" for line in self.picture]
        return lines


@dataclasses.dataclass(frozen=True)
class CheckResult:
    """The result of a check.

    Attributes:
      check: name of the invariant.
      status: 'passed' or 'failed'; 'skipped' by a request; 'not applicable' to such a cell; 'not
        run' after a failure.
      message: the statement of the invariant, or the reason why it was not checked.
      seconds: duration of the check.
      error: of a failed check.
    """

    check: str
    status: Status
    message: str
    seconds: float = 0.0
    error: CellError | None = None


@dataclasses.dataclass(frozen=True)
class ConformanceReport:
    """The results of all checks of a cell or a task, printed as a table.

    Attributes:
      subject: the constructor call of a cell, or the name of a task.
      results: of the checks, in order.
      largest_deviation: the largest difference as a fraction of its tolerance for rounding; None
        where it is not measured.
      inputs: sizes of the feature axes of one step; () of a task.
    """

    subject: str
    results: Sequence[CheckResult]
    largest_deviation: float | None = None
    inputs: tuple[int, ...] = ()

    @property
    def error(self) -> CellError | None:
        """The error of the check that failed, if one did."""
        return next((result.error for result in self.results if result.error), None)

    def count(self, status: Status) -> int:
        """Returns the number of results of a status."""
        return sum(result.status == status for result in self.results)

    def summary(self) -> str:
        """Returns the verdict in one line, with the checks that were skipped and their reasons."""
        seconds = sum(result.seconds for result in self.results)
        counts = [
            f"{self.count(status)} {status}"
            for status in ("passed", "failed", "skipped", "not applicable", "not run")
            if self.count(status) or status == "passed"
        ]
        text = f"{', '.join(counts)} in {seconds:.1f} s"
        if not self.error and self.largest_deviation is not None:
            allowed = f"{self.largest_deviation:.0%} of what rounding allows"
            text += f"; differences are at most {allowed}"
        for result in self.results:
            if result.status == "skipped":
                text += f"\nnot checked: {result.check} ({result.message})"
        return text

    def as_dict(self) -> dict[str, Any]:
        """Returns the verdict as plain data: strings, numbers, lists and dicts."""
        return {
            "subject": self.subject,
            "inputs": list(self.inputs),
            "verdict": "failed" if self.error else "passed",
            "checks": [
                {
                    "check": result.check,
                    "status": result.status,
                    "message": result.message,
                    "seconds": round(result.seconds, 3),
                }
                for result in self.results
            ],
            "skipped": {
                result.check: result.message
                for result in self.results
                if result.status == "skipped"
            },
            "violation": self.error.as_dict() if self.error else None,
            "largest_deviation": self.largest_deviation,
        }

    def __str__(self) -> str:
        width = max(len(result.check) for result in self.results)
        rows = [f"{row.check:{width}}  {row.status:14}  {row.message}" for row in self.results]
        error = [str(self.error)] if self.error else []
        return "\n".join([self.subject, *rows, *error, self.summary()])


def _batches(differences: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """Returns the arrays that have an axis of rows."""
    return [
        entries
        for name, entries in differences.items()
        if entries.ndim and not name.startswith(PARAMETERS)
    ]


def _labelled(label: str, text: str) -> list[str]:
    """Wraps a text behind a label, its other lines indented."""
    indent = " " * len(label)
    return textwrap.wrap(text, _WIDTH, initial_indent=label, subsequent_indent=indent)
