"""Conformance checks of a cell: one test for each invariant, or all in one call."""

import dataclasses
import functools
import time
import unittest
from collections.abc import Callable, Mapping, Sequence

import flax.linen as nn
import jax

from rnnjax.cells.base import inner_cells
from rnnjax.errors import InputError
from rnnjax.testing.assertions import NotApplicableError
from rnnjax.testing.cell_adapter import CellAdapter, adapt_cell, describe_cell
from rnnjax.testing.conformance_report import CellError, CheckResult, ConformanceReport
from rnnjax.testing.harness import ROWS, STEPS, Harness
from rnnjax.testing.invariant import Invariant
from rnnjax.testing.invariants import INVARIANTS
from rnnjax.testing.violation_search import find_violation, generate_cases, minimize

Inputs = int | tuple[int, ...]
Sizes = Sequence[tuple[int, int]]


@dataclasses.dataclass(frozen=True)
class CellCheck:
    """A check of one invariant of one cell; calling it passes, raises a `CellError`, or skips.

    Attributes:
      invariant: the property to check.
      adapter: the cell and the shape of its inputs.
      sizes: rows and steps of the batches; None for the sizes of the invariant.
      skip_reason: why the invariant is not checked; '' to check it.
    """

    invariant: Invariant
    adapter: CellAdapter
    sizes: Sizes | None = None
    skip_reason: str = ""

    def __str__(self) -> str:
        return self.name

    @property
    def name(self) -> str:
        """The name of the invariant."""
        return self.invariant.name

    def __call__(self) -> None:
        """Checks every engine and direction.

        Raises:
          CellError: the invariant does not hold.
          InputError: the cell refuses its attributes or inputs.
          unittest.SkipTest: the invariant is skipped or does not apply. pytest then reports a
            skipped test.
        """
        result = self.result()
        if result.error:
            raise result.error
        if result.status != "passed":
            raise unittest.SkipTest(result.message)

    def result(self) -> CheckResult:
        """Checks every engine and direction, and returns a row of a report.

        Raises:
          InputError: the cell refuses its attributes or inputs.
        """
        if self.skip_reason:
            return CheckResult(self.name, "skipped", self.skip_reason)
        start = time.perf_counter()
        status, message, error = "passed", self.invariant.statement, None
        try:
            self._check()
        except NotApplicableError as reason:
            status, message = "not applicable", str(reason)
        except CellError as violation:
            status, message, error = "failed", violation.violation, violation
        return CheckResult(self.name, status, message, time.perf_counter() - start, error)

    def _check(self) -> None:
        # On a GPU the default precision of a product is that of ten bits.
        with jax.default_matmul_precision("highest"):
            for rows, steps in self._sizes():
                for case in generate_cases(self.invariant, _harness(self.adapter), rows, steps):
                    violation = find_violation(self.invariant, case)
                    if violation is not None:
                        smallest = minimize(self.invariant, case, violation)
                        error = CellError(self.invariant, case, violation, smallest)
                        raise error from violation

    def _sizes(self) -> Sizes:
        if self.sizes is None:
            return self.adapter.sizes if self.invariant.all_sizes else ((ROWS, STEPS),)
        if self.invariant.any_size or self.invariant.all_sizes:
            return self.sizes
        return [(max(rows, ROWS), max(steps, STEPS)) for rows, steps in self.sizes]


def cell_checks(
    cell: nn.Module,
    inputs: Inputs = 3,
    skip: Mapping[str, str] | None = None,
    sizes: Sizes | None = None,
    quick: bool = False,
) -> list[CellCheck]:
    """Returns the checks of a cell, from cause to consequence, for pytest to run one by one.

    ::

        @pytest.mark.parametrize("check", cell_checks(MyCell(features=4)), ids=str)
        def test_my_cell(check):
            check()

    Nothing is computed before the first call. The checks of a cell share compiled programs.

    Args:
      cell: with few features; of this package, of flax, or a user's.
      inputs: size of the feature axis of one step, or a tuple for several axes.
      skip: reasons by the names of checks to skip: {"finite_differences": "surrogate gradient"};
        in addition to the `conformance_skips` of the cell's class.
      sizes: pairs of rows and steps for all checks; None for the sizes of each. A check that says
        nothing about single rows and steps takes at least six rows and seven steps.
      quick: compare a part of the sizes of larger batches, and start no second process.

    Raises:
      InputError: it is no cell in float32, or there are no such inputs, sizes or checks, or a
        reason is empty.
    """
    adapter = adapt_cell(cell, inputs, quick)
    if sizes is not None and not (
        sizes and all(len(size) == 2 and min(size) > 0 for size in sizes)
    ):
        raise InputError(f"sizes: given {sizes!r}, expected pairs of rows and steps: ((6, 7),)")
    reasons = _class_skips(cell) | _require_reasons("skip", skip or {})
    return [
        CellCheck(invariant, adapter, sizes, reasons.get(name, ""))
        for name, invariant in INVARIANTS.items()
    ]


def cell_verdict(
    cell: nn.Module,
    inputs: Inputs = 3,
    skip: Mapping[str, str] | None = None,
    sizes: Sizes | None = None,
    quick: bool = False,
    on_result: Callable[[CheckResult], None] = lambda result: None,
) -> ConformanceReport:
    """Runs the checks of a cell up to the first violation, and returns a report of all.

    `report.as_dict()` is plain data, and `report.error` the violation, if there is one.

    Args:
      cell: as for `cell_checks`.
      inputs: as for `cell_checks`.
      skip: as for `cell_checks`.
      sizes: as for `cell_checks`.
      quick: as for `cell_checks`.
      on_result: called with the result of each check that ran, for progress.

    Raises:
      InputError: as `cell_checks` raises it, or the cell itself refuses its attributes or inputs.
    """
    checks, results = cell_checks(cell, inputs, skip, sizes, quick), []
    for check in checks:
        if any(result.error for result in results):
            results.append(CheckResult(check.name, "not run", "an earlier check failed"))
            continue
        results.append(check.result())
        on_result(results[-1])
    adapter = checks[0].adapter
    largest_deviation = _harness(adapter).largest_deviation
    return ConformanceReport(describe_cell(cell), results, largest_deviation, adapter.inputs)


def check_cell(
    cell: nn.Module,
    inputs: Inputs = 3,
    skip: Mapping[str, str] | None = None,
    sizes: Sizes | None = None,
    quick: bool = False,
) -> ConformanceReport:
    """Runs all checks of a cell, and returns a report that prints as a table.

    Args:
      cell: as for `cell_checks`.
      inputs: as for `cell_checks`.
      skip: as for `cell_checks`.
      sizes: as for `cell_checks`.
      quick: as for `cell_checks`.

    Raises:
      CellError: the first violation, with its usual causes, the smallest case and a picture.
      InputError: as `cell_checks` raises it, or the cell itself refuses its attributes or inputs.
    """
    report = cell_verdict(cell, inputs, skip, sizes, quick)
    if report.error:
        raise report.error
    return report


@functools.lru_cache(maxsize=1)
def _harness(adapter: CellAdapter) -> Harness:
    """Returns the harness that the checks of a cell share; the next cell replaces it."""
    return Harness(adapter)


def _class_skips(cell: nn.Module) -> dict[str, str]:
    """Returns the skips of the classes of a cell and of those nested in it."""
    skips: dict[str, str] = {}
    for inner in inner_cells(cell):
        name = f"{type(inner).__name__}.conformance_skips"
        reasons = _require_reasons(name, getattr(inner, "conformance_skips", {}))
        skips = reasons | skips
    return skips


def _require_reasons(label: str, skip: Mapping[str, str]) -> dict[str, str]:
    """Checks that skips are reasons by the names of checks.

    Raises:
      InputError: they are no mapping, there is no such check, or a reason is empty.
    """
    example = "expected reasons by the names of checks, {'finite_differences': 'surrogate'}"
    if not isinstance(skip, Mapping):
        raise InputError(f"{label}: given {skip!r}, {example}")
    for name, reason in skip.items():
        if name not in INVARIANTS:
            raise InputError(f"{label}: given {name!r}, expected some of {', '.join(INVARIANTS)}")
        if not isinstance(reason, str) or not reason.strip():
            raise InputError(
                f"{label}: given {name!r} for the reason {reason!r}, expected a text that says why "
                f"the check is skipped; the checks are {', '.join(INVARIANTS)}"
            )
    return dict(skip)
