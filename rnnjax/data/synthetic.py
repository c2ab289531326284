"""Batches of a made problem, new ones at every step, as a pure function of seed and step."""

import dataclasses
import hashlib
from typing import Any

import numpy as np
from jaxtyping import Float64, Int32

from rnnjax.config import Config
from rnnjax.config.schema import MemoryConfig
from rnnjax.data.dataset import Dataset, FixedShape
from rnnjax.data.synthetic_problems import PROBLEMS, Problem, SyntheticBatch
from rnnjax.errors import InputError

_MAX_TEST_STEPS = 10**9
_TRAIN, _VALIDATION, _TEST = range(3)
"""The streams of random numbers; the last two are the same for every seed."""


def uniforms(rows: range, each: int, *seeds: int) -> Float64[np.ndarray, "rows each"]:
    """Returns numbers from 0 to below 1 for some rows of an endless table.

    A row follows from the seeds and its number alone. They are read off the raw stream of PCG64,
    which NumPy promises never to change, as for `rnnjax.data.batches.permutation`.

    Args:
      rows: one after the other.
      each: numbers of a row.
      *seeds: name the table.
    """
    stream = np.random.PCG64(np.random.SeedSequence(seeds)).advance(rows.start * each)
    words = stream.random_raw(len(rows) * each).reshape(len(rows), each)
    return (words >> np.uint64(11)) * 2.0**-53


@dataclasses.dataclass(frozen=True, eq=False)
class SyntheticSplit(FixedShape):
    """Examples of a problem: the next ones at every step, or in a fixed part always the same.

    Attributes:
      problem: what there is to remember.
      count: examples of an epoch.
      batch_size: rows of a batch; in the last one of an epoch, rows of weight zero fill it.
      shortest: least length of a sequence.
      longest: greatest length; between these two, each length is drawn as often.
      stream: names the random numbers.
      fixed: every epoch and every seed has the same examples.
      group_size: most batches of a `BatchGroup`.
    """

    problem: Problem
    count: int
    batch_size: int
    shortest: int
    longest: int
    stream: int
    fixed: bool = True
    group_size: int = 1

    def __len__(self) -> int:
        return self.count

    @property
    def baseline(self) -> float:
        """The least mean loss without memory."""
        return self.problem.baseline((self.shortest + self.longest) / 2)

    @property
    def boundaries(self) -> tuple[int, ...]:
        """The number of steps of a batch."""
        return (self.longest + self.problem.extra,)

    @property
    def tokens(self) -> Int32[np.ndarray, " tokens"]:
        """None: it is no text."""
        return np.zeros(0, np.int32)

    @property
    def steps_per_epoch(self) -> int:
        """Number of batches, the same in every epoch."""
        return -(-self.count // self.batch_size)

    def batch_at(self, seed: int, step: int) -> SyntheticBatch:
        """Returns the batch of a step, counted over all epochs."""
        epoch, index = divmod(step, self.steps_per_epoch)
        first = index * self.batch_size
        start = first if self.fixed else first + epoch * self.count
        seeds = (self.stream,) if self.fixed else (self.stream, seed)
        each = 1 + self.problem.draws(self.longest)
        drawn = uniforms(range(start, start + self.batch_size), each, *seeds)
        several = self.longest - self.shortest + 1
        lengths = self.shortest + (drawn[:, 0] * several).astype(int)
        made = self.problem.make(drawn[:, 1:], lengths, self.longest)
        for leaf in made:
            leaf[max(self.count - first, 0) :] = 0
        return made


@dataclasses.dataclass(frozen=True)
class SyntheticSource:
    """Where the examples come from."""

    name: str
    source: str
    """A sentence for people."""
    fingerprint: str
    """SHA-256 of the test part."""
    fallback: str = ""

    def describe(self) -> dict[str, Any]:
        """Returns what a run's files say of it, ready for JSON."""
        return dataclasses.asdict(self)


def load_problem(config: MemoryConfig) -> Problem:
    """Returns the problem that a memory section names.

    Raises:
      InputError: a length is less than what makes sense of it, or the test part too large.
    """
    problem = PROBLEMS[config.problem]
    for key in ("length", "min_length", "test_length"):
        length = getattr(config, key)
        if length and length < problem.least:
            raise InputError(
                f"config.data.memory.{key}: given {length}, and {config.problem!r} needs at least "
                f"{problem.least}"
            )
    test_length = config.test_length or config.length
    test_steps = config.test_examples * test_length
    if test_steps > _MAX_TEST_STEPS:
        raise InputError(
            f"config.data.memory: {config.test_examples:,} test sequences of length "
            f"{test_length:,} have {test_steps:,} steps, which are in memory at once; expected at "
            f"most {_MAX_TEST_STEPS:,}: lower config.data.memory.test_examples or .test_length"
        )
    return problem


def make_dataset(config: Config, problem: Problem) -> Dataset[SyntheticSplit]:
    """Returns the batches of a config.

    Args:
      config: what to make and how to batch it.
      problem: as `load_problem` returns it.

    Raises:
      InputError: there are no examples to validate on.
    """
    given = config.data.memory
    held_out = round(config.data.validation * given.examples)
    if config.data.validation and not held_out:
        raise InputError(
            f"config.data.validation: {config.data.validation} of {given.examples} examples is 0; "
            "expected at least one, so set more of config.data.memory.examples"
        )

    def part(
        stream: int, count: int, shortest: int, longest: int, **options: Any
    ) -> SyntheticSplit:
        return SyntheticSplit(
            problem, count, config.batch_size, shortest, longest, stream, **options
        )

    tested = given.test_length or given.length
    lengths = (given.min_length or given.length, given.length)
    test = part(_TEST, given.test_examples, tested, tested)
    return Dataset(
        corpus=SyntheticSource(given.problem, problem.about, _fingerprint(test)),
        vocabulary=None,
        train=part(_TRAIN, given.examples, *lengths, fixed=False, group_size=config.steps_per_call),
        validation=part(_VALIDATION, held_out, *lengths) if held_out else None,
        test=test,
    )


def _fingerprint(part: SyntheticSplit) -> str:
    digest = hashlib.sha256()
    whole = dataclasses.replace(part, batch_size=len(part)).batch_at(0, 0)
    for leaf in whole:
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()
