"""Synthetic problems, generated from uniform random numbers, and their batches.

A problem maps one row of random numbers to one example, so that an example is the same wherever in
a batch it stands, and has in closed form what the best answer without memory reaches.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int, Shaped

Draws = Float64[np.ndarray, "rows draws"]
"""Numbers from 0 to below 1."""
Lengths = Int[np.ndarray, " rows"]


class SyntheticBatch(NamedTuple):
    """Input sequences and their targets. All arrays are zero at masked steps."""

    inputs: Float32[np.ndarray, "rows time features"]
    mask: Bool[np.ndarray, "rows time"]
    targets: Shaped[np.ndarray, "rows time"]
    """Class ids, int32, or float32 numbers."""
    weights: Float32[np.ndarray, "rows time"]
    """Weights of the loss: 1 at the steps that count, 0 elsewhere."""
    recalls: Bool[np.ndarray, "rows time"]
    """The steps whose answer needs memory, over which the accuracy is a mean."""


@dataclasses.dataclass(frozen=True)
class Problem:
    """Generator of examples that need memory.

    Attributes:
      description: a sentence for people.
      features: of an input.
      classes: number of classes; 0 for a regression.
      min_length: the least length that makes sense.
      extra_steps: steps of a sequence beside its length.
      num_draws: random numbers of an example, by the greatest length.
      generate: returns examples from their draws and lengths, and the greatest length.
      baseline: least mean loss without memory and inputs, by the lengths of the sequences, all of
        which are equally probable.
      chance: accuracy of the most probable answer without memory, by the lengths; None for a
        regression.
    """

    description: str
    features: int
    classes: int
    min_length: int
    extra_steps: int
    num_draws: Callable[[int], int]
    generate: Callable[[Draws, Lengths, int], SyntheticBatch]
    baseline: Callable[[range], float]
    chance: Callable[[range], float] | None = None


def mean_length(lengths: range) -> float:
    """Returns the mean of consecutive lengths."""
    return (lengths[0] + lengths[-1]) / 2


def valid_steps(lengths: Lengths, longest: int) -> tuple[Int[np.ndarray, " time"], np.ndarray]:
    """Returns the numbers of the steps and the mask of right-padded rows, `[rows, time]`."""
    steps = np.arange(longest)
    return steps, steps < lengths[:, None]
