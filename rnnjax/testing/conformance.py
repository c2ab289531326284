"""Checks of a cell: run in a test each, or all at once."""

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
from rnnjax.testing.cell_adapter import CellAdapter, adapt_cell, describe_cell
from rnnjax.testing.comparison import BrokenError, SkippedError
from rnnjax.testing.conformance_report import CellError, Line, Report
from rnnjax.testing.harness import ROWS, STEPS, Harness
from rnnjax.testing.invariants.catalog import INVARIANTS, Invariant
from rnnjax.testing.mask_patterns import masks
from rnnjax.testing.random_streams import trains
from rnnjax.testing.test_case import CheckCase

SMALLER = ((1, 1), (1, 2), (2, 2), (2, 3), (3, 4), (4, 5))
"""The sizes at which a broken invariant is tried again, until it breaks."""


@dataclasses.dataclass(frozen=True)
class Check:
    """One invariant of one cell. Called, it passes, raises a `CellError`, or skips.

    Attributes:
      name: of the invariant.
      subject: the cell and the shape of what it reads.
      without: why the invariant is not asked of this cell; '' if it is.
    """

    name: str
    subject: CellAdapter
    without: str = ""

    def __str__(self) -> str:
        return self.name

    def __call__(self) -> None:
        """Looks at every engine and direction.

        Raises:
          CellError: the invariant does not hold.
          InputError: the cell refuses its attributes or inputs.
          unittest.SkipTest: it says nothing about this cell. pytest then shows a skipped test.
        """
        try:
            self._run()
        except SkippedError as skipped:
            raise unittest.SkipTest(str(skipped)) from None

    def line(self) -> Line:
        """Returns the line of a report.

        Raises:
          CellError: the invariant does not hold.
          InputError: the cell refuses its attributes or inputs.
        """
        started = time.perf_counter()
        try:
            self._run()
        except SkippedError as skipped:
            return Line(self.name, "skipped", str(skipped), time.perf_counter() - started)
        return Line(self.name, "passed", INVARIANTS[self.name].says, time.perf_counter() - started)

    def _run(self) -> None:
        if self.without:
            raise SkippedError(self.without)
        invariant = INVARIANTS[self.name]
        # On a GPU the default precision of a product is that of ten bits.
        with jax.default_matmul_precision("highest"):
            for case in _cases(invariant, _bench(self.subject), ROWS, STEPS):
                broken = _broken(invariant, case)
                if broken is not None:
                    self._raise(invariant, case, broken)

    def _raise(self, invariant: Invariant, case: CheckCase, broken: Exception) -> None:
        for rows, steps in SMALLER if invariant.any_size else ():
            for smaller in _cases(invariant, case.bench, rows, steps):
                if smaller.where != case.where:
                    continue
                found = None
                with contextlib.suppress(SkippedError):
                    found = _broken(invariant, smaller)
                if found is not None:
                    raise self._error(smaller, found) from found
        raise self._error(case, broken) from broken

    def _error(self, case: CheckCase, broken: Exception) -> CellError:
        return CellError(self.name, INVARIANTS[self.name], case, broken)


def cell_checks(
    cell: nn.Module, inputs: int | tuple[int, ...] = 3, skip: Mapping[str, str] | None = None
) -> list[Check]:
    """Returns the checks of a cell, from cause to consequence, for pytest to run one by one.

    ::

        @pytest.mark.parametrize("check", cell_checks(MyCell(features=4)), ids=str)
        def test_my_cell(check):
            check()

    Nothing is computed before the first is called. They share what they compile.

    Args:
      cell: with few features; of this package, of flax, or of your own.
      inputs: the size of the feature axis of one step, or a tuple where there are several.
      skip: checks that are not to be made, and why: {"derivative": "the gradient is a surrogate"}.

    Raises:
      InputError: it is no cell in float32, or there are no such inputs or checks.
    """
    subject = adapt_cell(cell, inputs)
    for name in skip or {}:
        if name not in INVARIANTS:
            raise InputError(f"skip: given {name!r}, expected some of {', '.join(INVARIANTS)}")
    return [Check(name, subject, (skip or {}).get(name, "")) for name in INVARIANTS]


def check_cell(
    cell: nn.Module, inputs: int | tuple[int, ...] = 3, skip: Mapping[str, str] | None = None
) -> Report:
    """Makes all the checks of a cell, and returns a report that prints as a table.

    Args:
      cell: as for `cell_checks`.
      inputs: as for `cell_checks`.
      skip: as for `cell_checks`.

    Raises:
      CellError: the first invariant that does not hold, with the smallest case that shows it.
      InputError: as `cell_checks` raises it, or the cell itself refuses its attributes or inputs.
    """
    checks = cell_checks(cell, inputs, skip)
    lines = [check.line() for check in checks]
    return Report(describe_cell(cell), lines, _bench(checks[0].subject).largest)


@functools.lru_cache(maxsize=1)
def _bench(subject: CellAdapter) -> Harness:
    """Returns the bench that the checks of a cell share; with the next cell it is given up."""
    return Harness(subject)


def _cases(invariant: Invariant, bench: Harness, rows: int, steps: int) -> Iterator[CheckCase]:
    looked_at = masks(rows, steps) if invariant.masked else [np.ones((rows, steps), bool)]
    for mask in looked_at:
        case = CheckCase(bench, rows, steps, mask)
        for training in (False, True) if invariant.training and trains(case) else (False,):
            case = dataclasses.replace(case, training=training)
            if not invariant.directions:
                yield case
                continue
            for engine in case.engines:
                # A cell that draws does the same for 'scan' in either direction.
                one_way = training and engine == "scan"
                for reverse in invariant.directions[:1] if one_way else invariant.directions:
                    yield dataclasses.replace(case, engine=engine, reverse=reverse)


def _broken(invariant: Invariant, case: CheckCase) -> Exception | None:
    try:
        invariant.check(case)
    except (SkippedError, InputError):
        raise
    except Exception as error:  # Whatever a cell raises where it should work is a broken promise.
        return error if isinstance(error, BrokenError) else _raised(error)
    return None


def _raised(error: Exception) -> BrokenError:
    text = str(error).strip().splitlines() or [""]
    broken = BrokenError(f"{type(error).__name__} was raised: {text[0]}")
    broken.__cause__ = error
    return broken
