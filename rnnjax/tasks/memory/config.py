"""The keys of a config that the memory task reads."""

from typing import Literal

import pydantic

from rnnjax.config.schema import Config
from rnnjax.config.sections import MAX_LENGTH, ConfigSection
from rnnjax.config.task_schema import RECURRENT_KEYS, TaskSchema


class MemoryConfig(ConfigSection):
    """Synthetic problems of memory and state tracking, with new examples at every step."""

    problem: Literal[
        "adding",
        "copy",
        "selective_copy",
        "parity",
        "modular_arithmetic",
        "bracket_arithmetic",
        "permutations_3",
        "permutations_5",
        "associative_recall",
    ] = "adding"
    """The problem, as `rnnjax.tasks.memory.problems` defines it."""
    length: int = pydantic.Field(default=100, ge=1, le=MAX_LENGTH)
    """Maximum length of a training sequence: its steps, or in the two copy problems and the
    associative recall the blanks T of T + 20 and T + 24 steps."""
    min_length: int = pydantic.Field(default=0, ge=0, le=MAX_LENGTH)
    """Minimum length of a training sequence, drawn from here to `length`; 0 for `length` alone."""
    test_length: int = pydantic.Field(default=0, ge=0, le=MAX_LENGTH)
    """Maximum length of a test sequence; 0 for `length`."""
    test_min_length: int = pydantic.Field(default=0, ge=0, le=MAX_LENGTH)
    """Minimum length of a test sequence; 0 for the maximum alone."""
    examples: int = pydantic.Field(default=10_000, ge=1, le=10**8)
    """Training sequences per epoch; `data.validation` is a fraction of this number, generated
    in addition."""
    test_examples: int = pydantic.Field(default=1_000, ge=1, le=10**6)
    """Number of test sequences, the same for every seed."""


def _check(config: Config) -> None:
    options = config.section(MemoryConfig)
    if options.min_length > options.length:
        raise ValueError(
            f"memory.min_length is {options.min_length} and memory.length {options.length}: no "
            "length lies between them, so set the first to at most the second"
        )
    test_length = options.test_length or options.length
    if options.test_min_length > test_length:
        raise ValueError(
            f"memory.test_min_length is {options.test_min_length} and the test sequences have at "
            f"most {test_length} steps: no length lies between them, so set memory.test_length"
        )


SCHEMA = TaskSchema(
    name="memory",
    section=MemoryConfig,
    keys=(*RECURRENT_KEYS, "data.validation"),
    check=_check,
    metrics={"scaled_accuracy": "higher"},
)
