"""Checks the conformance of a task on a small part of its data.

    rnnjax test-task --config bilstm
    rnnjax test-task --config gru --config.data.take=64 --config.model.features=8
    rnnjax test-task --config my_config.py --data sequences.npz

Every key of the config can be set on the command line. Small sizes are those of the config: few
rows, features and steps make the checks fast. Of texts at most 64 rows of a split are read, unless
`data.take` says otherwise. Ends with status 1 if the task violates an invariant.
"""

import argparse
import contextlib
import dataclasses
import time
import unittest
from collections.abc import Iterator, Mapping
from pathlib import Path

import jax

from rnnjax.cli.config_flags import add_config_flags, parsed_config
from rnnjax.cli.launcher import launch
from rnnjax.cli.parser import Parser, path
from rnnjax.config import Config
from rnnjax.console import escape, write_error, write_output
from rnnjax.errors import InputError
from rnnjax.testing.assertions import NotApplicableError, ViolationError
from rnnjax.testing.conformance_report import CheckResult, ConformanceReport
from rnnjax.testing.task_harness import TaskHarness
from rnnjax.testing.task_invariant import TaskInvariant
from rnnjax.testing.task_invariants import TASK_INVARIANTS


class TaskError(AssertionError):
    """A task violates an invariant; the message holds the difference and the usual cause.

    Attributes:
      check: name of the invariant.
    """

    def __init__(self, task: str, invariant: TaskInvariant, violation: Exception):
        self.check = invariant.name
        super().__init__(
            f"{task} violates {invariant.name}\n"
            f"invariant: {invariant.statement}\n"
            f"violation: {violation}\n"
            f"usually:   {invariant.cause}"
        )


@dataclasses.dataclass(frozen=True)
class TaskCheck:
    """A check of one invariant of one task; calling it passes, raises a `TaskError`, or skips.

    Attributes:
      invariant: the property to check.
      harness: the task and its data, shared by its checks.
      skip_reason: why the invariant is not checked; '' to check it.
    """

    invariant: TaskInvariant
    harness: TaskHarness
    skip_reason: str = ""

    def __str__(self) -> str:
        return self.name

    @property
    def name(self) -> str:
        """The name of the invariant."""
        return self.invariant.name

    def __call__(self) -> None:
        """Checks the invariant.

        Raises:
          TaskError: the invariant does not hold.
          InputError: the config or the data cannot be used.
          unittest.SkipTest: the invariant does not apply. pytest then reports a skipped test.
        """
        try:
            self._check()
        except NotApplicableError as reason:
            raise unittest.SkipTest(str(reason)) from None

    def result(self) -> CheckResult:
        """Checks the invariant, and returns a row of a report.

        Raises:
          TaskError: the invariant does not hold.
          InputError: the config or the data cannot be used.
        """
        start = time.perf_counter()
        status, message = "passed", self.invariant.statement
        try:
            self._check()
        except NotApplicableError as reason:
            status, message = "not applicable", str(reason)
        return CheckResult(self.name, status, message, time.perf_counter() - start)

    def _check(self) -> None:
        if self.skip_reason:
            raise NotApplicableError(self.skip_reason)
        # On a GPU the default precision of a product is that of ten bits.
        with jax.default_matmul_precision("highest"):
            try:
                self.invariant.check(self.harness)
            except (NotApplicableError, InputError, OSError):
                raise
            except ViolationError as violation:
                raise TaskError(self.harness.config.task, self.invariant, violation) from violation
            except Exception as error:  # An exception of any kind from a task is a violation.
                message = (str(error).strip().splitlines() or [""])[0]
                violation = ViolationError(f"{type(error).__name__} was raised: {message}")
                raise TaskError(self.harness.config.task, self.invariant, violation) from error


def task_checks(
    config: Config, skip: Mapping[str, str] | None = None, file: Path | None = None
) -> list[TaskCheck]:
    """Returns the checks of a task, from cause to consequence, for pytest to run one by one.

    ::

        @pytest.mark.parametrize("check", task_checks(load_config("my_task.py")), ids=str)
        def test_my_task(check):
            check()

    Nothing is computed before the first call. The checks of a task share data, compiled programs
    and a trained run.

    Args:
      config: with few rows and features.
      skip: reasons by the names of checks to skip.
      file: that `evaluate` and `predict` read, for the check that they agree; None without one.

    Raises:
      InputError: there is no such check, or the config is not usable.
    """
    skip = skip or {}
    for name in skip:
        if name not in TASK_INVARIANTS:
            raise InputError(f"skip: given {name!r}, expected some of {', '.join(TASK_INVARIANTS)}")
    harness = TaskHarness(config, file)
    return [
        TaskCheck(invariant, harness, skip.get(name, ""))
        for name, invariant in TASK_INVARIANTS.items()
    ]


def check_task(
    config: Config, skip: Mapping[str, str] | None = None, file: Path | None = None
) -> ConformanceReport:
    """Runs all checks of a task, and returns a report that prints as a table.

    Args:
      config: as for `task_checks`.
      skip: as for `task_checks`.
      file: as for `task_checks`.

    Raises:
      TaskError: the first violation.
      InputError: as `task_checks` raises it, or the data is not usable.
    """
    results = [check.result() for check in task_checks(config, skip, file)]
    return ConformanceReport(config.task, results)


def add_flags(parser: Parser) -> None:
    """Adds --data and the flags of the config."""
    parser.add_argument(
        "--data",
        type=path,
        metavar="FILE",
        help="A file that evaluate and predict read, for the check that they agree.",
    )
    add_config_flags(parser)


def main(args: argparse.Namespace) -> int:
    """Prints the result of each check, and returns the exit status."""
    checks = task_checks(parsed_config(args), file=args.data)
    width = max(len(check.name) for check in checks)
    try:
        with _fast_compilation():
            for check in checks:
                result = check.result()
                write_output(f"{result.check:{width}}  {result.status}  {result.message}")
    except TaskError as error:
        write_error(escape(f"{error}\n"))
        return 1
    return 0


@contextlib.contextmanager
def _fast_compilation() -> Iterator[None]:
    """Compiles programs without most optimizations, since they run for milliseconds."""
    previous = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    try:
        yield
    finally:
        jax.config.update("jax_disable_most_optimizations", previous)


if __name__ == "__main__":
    launch("test-task")
