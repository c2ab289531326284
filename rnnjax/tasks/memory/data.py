"""Batches of a synthetic problem, new at every step, as a pure function of seed and step."""

import dataclasses
import hashlib
from typing import Any

import numpy as np
from jaxtyping import Float64

from rnnjax.config import Config
from rnnjax.data.dataset import Dataset, FixedShape, Source
from rnnjax.errors import InputError
from rnnjax.tasks.memory.config import MemoryConfig
from rnnjax.tasks.memory.problem import Problem, SyntheticBatch
from rnnjax.tasks.memory.problems import PROBLEMS

_MAX_TEST_STEPS = 10**9
_TRAIN, _VALIDATION, _TEST = range(3)
"""The random streams; the last two are the same for every seed."""


def uniform_rows(rows: range, width: int, *seeds: int) -> Float64[np.ndarray, "rows width"]:
    """Returns rows of an endless table of uniform random numbers in [0, 1).

    A row follows from the seeds and its number alone. It is read off the raw stream of PCG64, which
    NumPy promises never to change, as for `rnnjax.data.batches.permutation`.

    Args:
      rows: a contiguous range.
      width: numbers of a row.
      *seeds: name the table.
    """
    stream = np.random.PCG64(np.random.SeedSequence(seeds)).advance(rows.start * width)
    words = stream.random_raw(len(rows) * width).reshape(len(rows), width)
    return (words >> np.uint64(11)) * 2.0**-53


@dataclasses.dataclass(frozen=True, eq=False)
class SyntheticSplit(FixedShape):
    """Examples of a problem: new ones at every step or, in a fixed split, always the same.

    Attributes:
      problem: generates the examples.
      count: examples of an epoch.
      batch_size: rows of a batch; rows of weight zero fill the last one of an epoch.
      shortest: least length of a sequence.
      longest: greatest length; lengths are uniform between the two.
      stream: number of the random stream.
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
        return self.problem.baseline(self.lengths)

    @property
    def lengths(self) -> range:
        """The lengths of the sequences."""
        return range(self.shortest, self.longest + 1)

    @property
    def boundaries(self) -> tuple[int, ...]:
        """The number of time steps of a batch."""
        return (self.longest + self.problem.extra_steps,)

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
        width = 1 + self.problem.num_draws(self.longest)
        draws = uniform_rows(range(start, start + self.batch_size), width, *seeds)
        lengths = self.shortest + (draws[:, 0] * len(self.lengths)).astype(int)
        batch = self.problem.generate(draws[:, 1:], lengths, self.longest)
        for array in batch:
            array[max(self.count - first, 0) :] = 0
        return batch


def load_problem(config: MemoryConfig) -> Problem:
    """Returns the problem that a memory section names.

    Raises:
      InputError: a length is too small for the problem, or the test split too large.
    """
    problem = PROBLEMS[config.problem]
    for key in ("length", "min_length", "test_length", "test_min_length"):
        length = getattr(config, key)
        if length and length < problem.min_length:
            raise InputError(
                f"config.memory.{key}: given {length}, and {config.problem!r} needs at least "
                f"{problem.min_length}"
            )
    test_length = config.test_length or config.length
    test_steps = config.test_examples * test_length
    if test_steps > _MAX_TEST_STEPS:
        raise InputError(
            f"config.memory: {config.test_examples:,} test sequences of length "
            f"{test_length:,} have {test_steps:,} steps, which are in memory at once; expected at "
            f"most {_MAX_TEST_STEPS:,}: lower config.memory.test_examples or .test_length"
        )
    return problem


def make_dataset(config: Config, problem: Problem) -> Dataset[SyntheticSplit]:
    """Makes the training, validation and test split of a problem.

    Args:
      config: the memory section, and the batches.
      problem: as `load_problem` returns it.

    Raises:
      InputError: there are no examples to validate on.
    """
    memory, share = config.section(MemoryConfig), config.data.validation
    held_out = round(share * memory.examples)
    if share and not held_out:
        raise InputError(
            f"config.data.validation: {share} of {memory.examples} examples is 0; expected at "
            "least one, so set more of config.memory.examples"
        )

    def split(stream: int, count: int, lengths: tuple[int, int], **options: Any) -> SyntheticSplit:
        return SyntheticSplit(problem, count, config.batch_size, *lengths, stream, **options)

    test_length = memory.test_length or memory.length
    lengths = (memory.min_length or memory.length, memory.length)
    test = split(_TEST, memory.test_examples, (memory.test_min_length or test_length, test_length))
    return Dataset(
        corpus=Source(memory.problem, problem.description, _fingerprint(test)),
        vocabulary=None,
        train=split(
            _TRAIN, memory.examples, lengths, fixed=False, group_size=config.steps_per_call
        ),
        validation=split(_VALIDATION, held_out, lengths) if held_out else None,
        test=test,
    )


def _fingerprint(split: SyntheticSplit) -> str:
    digest = hashlib.sha256()
    for array in dataclasses.replace(split, batch_size=len(split)).batch_at(0, 0):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
