"""Contenders: one module a library, run by `worker.py` in a separate process.

A module has a function for each group that it takes part in, `layers(spec, variant)` say, which
returns a `Job`.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple


class Job(NamedTuple):
    """Functions that are ready to be timed.

    Attributes:
      runs: functions by operation; each runs it once and returns when the result is ready.
      facts: further values to record: a 'digest' to compare, 'temp_bytes'.
    """

    runs: Mapping[str, Callable[[], Any]]
    facts: dict[str, Any]


class NotOfferedError(Exception):
    """A library lacks the feature: no failure, and nothing to measure."""
