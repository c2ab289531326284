"""Who does the work: one module a library, run by `worker.py` in a process of its own.

A module has a function for each group that it takes part in, `layers(spec, variant)` say, which
returns a `Job`.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple


class Job(NamedTuple):
    """Work that is ready to be timed.

    Attributes:
      runs: by what they do; each does it once and returns when the result is there.
      facts: what else is to be recorded: a 'digest' to compare, 'temp_bytes'.
    """

    runs: Mapping[str, Callable[[], Any]]
    facts: dict[str, Any]


class NotOfferedError(Exception):
    """A library has no such thing: no failure, and nothing to measure."""
