"""Synthetic problems of long memory, generated from uniform random numbers.

A problem maps one row of random numbers to one example, so that an example is the same wherever in
a batch it stands, and has its least loss without memory in closed form.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int, Shaped

SYMBOLS = 8
"""Different symbols to remember; the next two numbers are the blank and the delimiter."""
BLANK, DELIMITER = SYMBOLS, SYMBOLS + 1
RECALLED = 10
"""Symbols to remember in a sequence."""

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
      baseline: least mean loss without memory, by the mean length of the sequences.
    """

    description: str
    features: int
    classes: int
    min_length: int
    extra_steps: int
    num_draws: Callable[[int], int]
    generate: Callable[[Draws, Lengths, int], SyntheticBatch]
    baseline: Callable[[float], float]


def adding(draws: Draws, lengths: Lengths, longest: int) -> SyntheticBatch:
    """Adding problem: the sum of the two marked numbers of a sequence, predicted at its last step.

    Numbers are from 0 to 1, the first mark in the first half, the second in the other. Hochreiter,
    Schmidhuber, Long short-term memory, Neural Computation 9(8), 1997, in the form of Arjovsky,
    Shah, Bengio, Unitary evolution recurrent neural networks, ICML 2016, section 5.2. To answer 1
    always has the mean squared error 1/6, twice the variance of a number.
    """
    steps, mask = _steps(lengths, longest)
    values = np.where(mask, draws[:, :longest], 0).astype(np.float32)
    half = lengths // 2
    positions = [
        (draws[:, longest] * half).astype(int),
        half + (draws[:, longest + 1] * (lengths - half)).astype(int),
    ]
    marked = np.any([steps == position[:, None] for position in positions], axis=0)
    last = steps == lengths[:, None] - 1
    total = np.sum(values, axis=1, where=marked, keepdims=True)
    return SyntheticBatch(
        inputs=np.stack([values, marked.astype(np.float32)], axis=-1),
        mask=mask,
        targets=np.where(last, total, 0).astype(np.float32),
        weights=last.astype(np.float32),
        recalls=last,
    )


def parity(draws: Draws, lengths: Lengths, longest: int) -> SyntheticBatch:
    """Parity problem: whether the number of ones is odd, predicted at the last bit.

    Hochreiter, Schmidhuber 1997 name it among the problems of long time lags; as a test of longer
    sequences than were trained on it is that of Delétang et al., Neural networks and the Chomsky
    hierarchy, ICLR 2023. Without one of the bits the parity is a coin flip: the cross-entropy is
    ln 2.
    """
    steps, mask = _steps(lengths, longest)
    bits = (draws[:, :longest] < 0.5) & mask
    last = steps == lengths[:, None] - 1
    return SyntheticBatch(
        inputs=(np.eye(2, dtype=np.float32)[bits.astype(int)] * mask[..., None]),
        mask=mask,
        targets=np.where(last, bits.sum(axis=1, keepdims=True) % 2, 0).astype(np.int32),
        weights=last.astype(np.float32),
        recalls=last,
    )


def copying(draws: Draws, lengths: Lengths, longest: int) -> SyntheticBatch:
    """Copy problem: ten symbols of eight, T - 1 blanks, a delimiter and ten blanks, T + 20 steps.

    The targets are blanks up to the delimiter, and the symbols, in their order, in the last ten
    steps: Hochreiter, Schmidhuber 1997 in the form of Arjovsky, Shah, Bengio 2016, section
    5.1. The cross-entropy is a mean over all steps, 10 ln 8 / (T + 20) without memory, which names
    the blanks and chooses the symbols evenly.

    Args:
      draws: of the symbols.
      lengths: T of each row.
      longest: the greatest T.
    """
    return _recall(_symbols(draws), np.arange(RECALLED)[None], lengths, longest)


def selective_copying(draws: Draws, lengths: Lengths, longest: int) -> SyntheticBatch:
    """Selective copy problem: `copying` with the symbols anywhere before the delimiter.

    The input alone says which steps are to be remembered: the denoise task of Jing et al.,
    Gated orthogonal recurrent units, Neural Computation 31(4), 2019, called selective copying by
    Gu, Dao, Mamba, 2023, who have 16 symbols to remember in 4,096 steps. The baseline is that of
    `copying`.

    Args:
      draws: of the symbols, then one for each step that may hold one.
      lengths: T of each row.
      longest: the greatest T.
    """
    valid = np.arange(longest + RECALLED - 1) < lengths[:, None] + RECALLED - 1
    order = np.argsort(np.where(valid, draws[:, RECALLED:], np.inf), axis=1, kind="stable")
    positions = np.sort(order[:, :RECALLED], axis=1)
    return _recall(_symbols(draws), positions, lengths, longest)


def _symbols(draws: Draws) -> Int[np.ndarray, "rows recalled"]:
    return (draws[:, :RECALLED] * SYMBOLS).astype(int)


def _recall(
    symbols: Int[np.ndarray, "rows recalled"],
    positions: Int[np.ndarray, "_ recalled"],
    lengths: Lengths,
    longest: int,
) -> SyntheticBatch:
    """Returns sequences with the symbols at these positions before the delimiter."""
    steps, mask = _steps(lengths + 2 * RECALLED, longest + 2 * RECALLED)
    rows = np.arange(len(lengths))[:, None]
    delimiter = lengths[:, None] + RECALLED - 1
    inputs = np.where(steps == delimiter, DELIMITER, BLANK)
    inputs[rows, positions] = symbols
    recalls = (steps > delimiter) & mask
    targets = np.where(mask, BLANK, 0)
    targets[rows, delimiter + 1 + np.arange(RECALLED)] = symbols
    return SyntheticBatch(
        inputs=np.eye(DELIMITER + 1, dtype=np.float32)[inputs] * mask[..., None],
        mask=mask,
        targets=targets.astype(np.int32),
        weights=mask.astype(np.float32),
        recalls=recalls,
    )


def _steps(lengths: Lengths, longest: int) -> tuple[Int[np.ndarray, " time"], np.ndarray]:
    steps = np.arange(longest)
    return steps, steps < lengths[:, None]


def _symbol_baseline(mean_length: float) -> float:
    return RECALLED * math.log(SYMBOLS) / (mean_length + 2 * RECALLED)


PROBLEMS: dict[str, Problem] = {
    "adding": Problem(
        description="The sum of the two numbers that are marked, after the last step.",
        features=2,
        classes=0,
        min_length=2,
        extra_steps=0,
        num_draws=lambda longest: longest + 2,
        generate=adding,
        baseline=lambda _: 1 / 6,
    ),
    "copy": Problem(
        description="Ten symbols of eight from the start, after T blanks.",
        features=SYMBOLS + 2,
        classes=SYMBOLS + 1,
        min_length=1,
        extra_steps=2 * RECALLED,
        num_draws=lambda _: RECALLED,
        generate=copying,
        baseline=_symbol_baseline,
    ),
    "selective_copy": Problem(
        description="Ten symbols of eight from among the blanks before a delimiter.",
        features=SYMBOLS + 2,
        classes=SYMBOLS + 1,
        min_length=1,
        extra_steps=2 * RECALLED,
        num_draws=lambda longest: RECALLED + longest + RECALLED - 1,
        generate=selective_copying,
        baseline=_symbol_baseline,
    ),
    "parity": Problem(
        description="Whether the number of ones is odd, after the last bit.",
        features=2,
        classes=2,
        min_length=1,
        extra_steps=0,
        num_draws=lambda longest: longest,
        generate=parity,
        baseline=lambda _: math.log(2),
    ),
}
"""Problems by their `config.memory.problem`."""
