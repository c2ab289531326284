"""Conformance checks of a cell: one test for each invariant, or all in one call."""

import contextlib
import dataclasses
import functools
import time
import unittest
from collections.abc import Iterator, Mapping

import flax.linen as nn
import jax
import numpy as np

from rnnjax.errors import InputError
from rnnjax.testing.assertions import NotApplicableError, ViolationError
from rnnjax.testing.cell_adapter import CellAdapter, adapt_cell, describe_cell
from rnnjax.testing.check_case import CheckCase
from rnnjax.testing.conformance_report import CellError, CheckResult, ConformanceReport
from rnnjax.testing.harness import ROWS, STEPS, Harness
from rnnjax.testing.invariant import Invariant
from rnnjax.testing.invariants import INVARIANTS
from rnnjax.testing.mask_patterns import generate_masks
from rnnjax.testing.random_streams import training_differs

SMALL_SIZES = ((1, 1), (1, 2), (2, 2), (2, 3), (3, 4), (4, 5))
"""Rows and steps at which a violation is searched for again, to report the smallest."""


@dataclasses.dataclass(frozen=True)
class CellCheck:
    """A check of one invariant of one cell; calling it passes, raises a `CellError`, or skips.

    Attributes:
      invariant: the property to check.
      adapter: the cell and the shape of its inputs.
      skip_reason: why the invariant is not checked; '' to check it.
    """

    invariant: Invariant
    adapter: CellAdapter
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
          unittest.SkipTest: the invariant does not apply. pytest then reports a skipped test.
        """
        try:
            self._check()
        except NotApplicableError as reason:
            raise unittest.SkipTest(str(reason)) from None

    def result(self) -> CheckResult:
        """Checks every engine and direction, and returns a row of a report.

        Raises:
          CellError: the invariant does not hold.
          InputError: the cell refuses its attributes or inputs.
        """
        start = time.perf_counter()
        status, message = "passed", self.invariant.statement
        try:
            self._check()
        except NotApplicableError as reason:
            status, message = "skipped", str(reason)
        return CheckResult(self.name, status, message, time.perf_counter() - start)

    def _check(self) -> None:
        if self.skip_reason:
            raise NotApplicableError(self.skip_reason)
        # On a GPU the default precision of a product is that of ten bits.
        with jax.default_matmul_precision("highest"):
            sizes = self.adapter.sizes if self.invariant.all_sizes else ((ROWS, STEPS),)
            for rows, steps in sizes:
                self._check_size(rows, steps)

    def _check_size(self, rows: int, steps: int) -> None:
        for case in _generate_cases(self.invariant, _harness(self.adapter), rows, steps):
            violation = _find_violation(self.invariant, case)
            if violation is not None:
                case, violation = self._minimize(case, violation)
                raise CellError(self.invariant, case, violation) from violation

    def _minimize(
        self, case: CheckCase, violation: ViolationError
    ) -> tuple[CheckCase, ViolationError]:
        """Returns the smallest case of the same engine and direction that violates as well."""
        for rows, steps in SMALL_SIZES if self.invariant.any_size else ():
            for smaller in _generate_cases(self.invariant, case.harness, rows, steps):
                if smaller.location != case.location:
                    continue
                with contextlib.suppress(NotApplicableError):
                    if smaller_violation := _find_violation(self.invariant, smaller):
                        return smaller, smaller_violation
        return case, violation


def cell_checks(
    cell: nn.Module,
    inputs: int | tuple[int, ...] = 3,
    skip: Mapping[str, str] | None = None,
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
      skip: reasons by the names of checks to skip: {"finite_differences": "surrogate gradient"}.
      quick: compare a part of the sizes of larger batches, and start no second process.

    Raises:
      InputError: it is no cell in float32, or there are no such inputs or checks.
    """
    adapter = adapt_cell(cell, inputs, quick)
    skip = skip or {}
    for name in skip:
        if name not in INVARIANTS:
            raise InputError(f"skip: given {name!r}, expected some of {', '.join(INVARIANTS)}")
    return [
        CellCheck(invariant, adapter, skip.get(name, "")) for name, invariant in INVARIANTS.items()
    ]


def check_cell(
    cell: nn.Module,
    inputs: int | tuple[int, ...] = 3,
    skip: Mapping[str, str] | None = None,
    quick: bool = False,
) -> ConformanceReport:
    """Runs all checks of a cell, and returns a report that prints as a table.

    Args:
      cell: as for `cell_checks`.
      inputs: as for `cell_checks`.
      skip: as for `cell_checks`.
      quick: as for `cell_checks`.

    Raises:
      CellError: the first violation, with the smallest case.
      InputError: as `cell_checks` raises it, or the cell itself refuses its attributes or inputs.
    """
    checks = cell_checks(cell, inputs, skip, quick)
    results = [check.result() for check in checks]
    largest_deviation = _harness(checks[0].adapter).largest_deviation
    return ConformanceReport(describe_cell(cell), results, largest_deviation)


@functools.lru_cache(maxsize=1)
def _harness(adapter: CellAdapter) -> Harness:
    """Returns the harness that the checks of a cell share; the next cell replaces it."""
    return Harness(adapter)


def _generate_cases(
    invariant: Invariant, harness: Harness, rows: int, steps: int
) -> Iterator[CheckCase]:
    all_real = np.ones((rows, steps), bool)
    for mask in generate_masks(rows, steps) if invariant.all_masks else [all_real]:
        case = CheckCase(harness, rows, steps, mask)
        modes = (False, True) if invariant.training and training_differs(case) else (False,)
        for training in modes:
            case = dataclasses.replace(case, training=training)
            if not invariant.directions:
                yield case
                continue
            for engine in case.engines:
                # A cell that draws does the same for 'scan' in either direction.
                count = 1 if training and engine == "scan" else None
                for reverse in invariant.directions[:count]:
                    yield dataclasses.replace(case, engine=engine, reverse=reverse)


def _find_violation(invariant: Invariant, case: CheckCase) -> ViolationError | None:
    try:
        invariant.check(case)
    except (NotApplicableError, InputError):
        raise
    except ViolationError as violation:
        return violation
    except Exception as error:  # An exception of any kind from a cell is a violation.
        message = (str(error).strip().splitlines() or [""])[0]
        violation = ViolationError(f"{type(error).__name__} was raised: {message}")
        violation.__cause__ = error
        return violation
    return None
