"""Search for a violation of an invariant, and for the smallest case that shows it."""

import dataclasses
import time
from collections.abc import Iterable, Iterator

import numpy as np

from rnnjax.cells.dtypes import with_dtypes
from rnnjax.errors import InputError
from rnnjax.testing.assertions import NotApplicableError, ViolationError
from rnnjax.testing.cell_adapter import CellAdapter
from rnnjax.testing.check_case import CheckCase
from rnnjax.testing.harness import Harness
from rnnjax.testing.invariant import Invariant
from rnnjax.testing.mask_patterns import generate_masks
from rnnjax.testing.random_streams import training_differs

SMALL_SIZES = ((1, 1), (1, 2), (2, 2), (2, 3), (3, 4), (4, 5))
"""Rows and steps at which a violation is searched for again, before larger ones."""

SMALL_FEATURES = (1, 2)
"""Features with which it is searched for again, at the smallest rows and steps."""

MAX_REDUCTIONS = 24
"""Numbers of rows and steps that are tried where small batches do not violate."""

SEARCH_SECONDS = 20.0
"""Seconds after which no further case is tried."""


def generate_cases(
    invariant: Invariant, harness: Harness, rows: int, steps: int
) -> Iterator[CheckCase]:
    """Yields the cases of an invariant: every mask, mode, engine and direction of one size."""
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


def find_violation(invariant: Invariant, case: CheckCase) -> ViolationError | None:
    """Returns the violation of an invariant in a case; None if it holds.

    Raises:
      NotApplicableError: the invariant does not apply.
      InputError: the cell refuses its attributes or inputs.
    """
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


def minimize(
    invariant: Invariant, case: CheckCase, violation: ViolationError
) -> tuple[CheckCase, ViolationError]:
    """Returns the smallest case that still violates, of the same engine, direction and mode.

    Small batches are tried first, then fewer rows or steps of the case, then fewer features. Each
    is computed again; what ran out of time is not tried.
    """
    if not invariant.any_size:
        return case, violation
    search = _Search(invariant, case, time.monotonic() + SEARCH_SECONDS)
    # A check of larger batches rarely fails in small ones: those are reached from above.
    smallest = search.first(
        (case.harness, rows, steps)
        for rows, steps in (() if invariant.all_sizes else SMALL_SIZES)
        if rows <= case.rows and steps <= case.steps
    )
    if smallest is None:
        smallest = search.fewer_rows_or_steps(case, violation)
    case, violation = smallest
    narrow = search.first(
        ((Harness(adapter), case.rows, case.steps) for adapter in _narrow_adapters(case.adapter)),
        violation.kind,
    )
    return narrow or (case, violation)


@dataclasses.dataclass(frozen=True)
class _Search:
    """A search for cases like one that violates.

    Attributes:
      invariant: that is violated.
      case: that violates it.
      deadline: of the monotonic clock, after which no case is tried.
    """

    invariant: Invariant
    case: CheckCase
    deadline: float

    def first(
        self, settings: Iterable[tuple[Harness, int, int]], kind: str = ""
    ) -> tuple[CheckCase, ViolationError] | None:
        """Returns the first case of some harnesses, rows and steps that violates.

        Args:
          settings: harness, rows and steps.
          kind: of the violation; '' for any.
        """
        for setting in settings:
            if time.monotonic() > self.deadline:
                return None
            try:
                for smaller in generate_cases(self.invariant, *setting):
                    if smaller.location != self.case.location:
                        continue
                    violation = self._violation(smaller)
                    if violation and kind in ("", violation.kind):
                        return smaller, violation
            except InputError:  # The cell has no such sizes.
                continue
        return None

    def fewer_rows_or_steps(
        self, case: CheckCase, violation: ViolationError
    ) -> tuple[CheckCase, ViolationError]:
        """Bisects the rows and then the steps: one less of either passes, unless time ran out."""
        smallest, tries = (case, violation), 0
        for axis in ("rows", "steps"):
            passing, failing = 0, getattr(case, axis)
            while failing - passing > 1 and tries < MAX_REDUCTIONS:
                count = 1 if passing == 0 else (passing + failing) // 2
                size = {"rows": smallest[0].rows, "steps": smallest[0].steps, axis: count}
                setting = (case.harness, size["rows"], size["steps"])
                tries += 1
                if smaller := self.first([setting]):
                    smallest, failing = smaller, count
                else:
                    passing = count
        return smallest

    def _violation(self, case: CheckCase) -> ViolationError | None:
        try:
            return find_violation(self.invariant, case)
        except NotApplicableError:
            return None


def _narrow_adapters(adapter: CellAdapter) -> Iterator[CellAdapter]:
    """Yields the cell with fewer features and inputs, the fewest first."""
    single = (1,) * len(adapter.inputs)
    for inputs in dict.fromkeys((single, adapter.inputs)):
        for features in SMALL_FEATURES:
            try:
                cell = with_dtypes(adapter.cell, features=features)
            except Exception:  # The sizes of the cell's other attributes need more.
                continue
            if cell is not None and cell != adapter.cell:
                yield dataclasses.replace(adapter, cell=cell, inputs=inputs)
    if SMALL_FEATURES and single != adapter.inputs:
        yield dataclasses.replace(adapter, inputs=single)
