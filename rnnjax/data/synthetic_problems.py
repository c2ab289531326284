"""Problems that only memory solves, made from numbers drawn at random.

Each is a function of such numbers, a row of them for each example, so that an example is the same
wherever in a batch it stands. Each has the loss of the best answer without memory in closed form.
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
    """Sequences, and what is asked of them. Nothing is at the steps that a mask leaves out."""

    inputs: Float32[np.ndarray, "rows time features"]
    mask: Bool[np.ndarray, "rows time"]
    targets: Shaped[np.ndarray, "rows time"]
    """Numbers of classes, int32, or float32 numbers."""
    weights: Float32[np.ndarray, "rows time"]
    """1 where the answer counts in the loss, 0 elsewhere."""
    recalls: Bool[np.ndarray, "rows time"]
    """Where the answer is a matter of memory: what the accuracy is the share of."""


@dataclasses.dataclass(frozen=True)
class Problem:
    """What there is to remember.

    Attributes:
      about: what it is, in a sentence.
      features: of an input.
      classes: what is asked for is one of so many; 0 where it is a number.
      least: the least length that makes sense.
      extra: steps of a sequence beside its length.
      draws: how many numbers an example is made of, by the greatest length.
      make: returns examples, given their draws and lengths, and the greatest length.
      baseline: returns the least mean loss without memory, by the mean length of the sequences.
    """

    about: str
    features: int
    classes: int
    least: int
    extra: int
    draws: Callable[[int], int]
    make: Callable[[Draws, Lengths, int], SyntheticBatch]
    baseline: Callable[[float], float]


def adding(draws: Draws, lengths: Lengths, longest: int) -> SyntheticBatch:
    """Returns sequences of numbers from 0 to 1 of which two are marked, whose sum is asked at last.

    The first mark is in the first half of the steps, the second in the second. Hochreiter,
    Schmidhuber, Long short-term memory, Neural Computation 9(8), 1997, in the form of Arjovsky,
    Shah, Bengio, Unitary evolution recurrent neural networks, ICML 2016, section 5.2. To answer 1
    always has the mean squared error 1/6, twice the variance of a number.
    """
    steps, mask = _steps(lengths, longest)
    values = np.where(mask, draws[:, :longest], 0).astype(np.float32)
    half = lengths // 2
    places = [
        (draws[:, longest] * half).astype(int),
        half + (draws[:, longest + 1] * (lengths - half)).astype(int),
    ]
    marked = np.any([steps == place[:, None] for place in places], axis=0)
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
    """Returns sequences of bits of which it is asked at last whether the ones are odd in number.

    Hochreiter, Schmidhuber 1997 name it among the problems of long time lags; as a test of longer
    sequences than were trained on it is that of Delétang et al., Neural networks and the Chomsky
    hierarchy, ICLR 2023. Who does not know every single bit knows nothing: the cross-entropy is
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
    """Returns ten symbols of eight, T - 1 blanks, a delimiter and ten blanks, of T + 20 steps.

    Blanks are asked for until the delimiter has been read, and the symbols, in their order, in the
    last ten steps: Hochreiter, Schmidhuber 1997 in the form of Arjovsky, Shah, Bengio 2016, section
    5.1. The cross-entropy is a mean over all steps, 10 ln 8 / (T + 20) without memory, which names
    the blanks and chooses the symbols evenly.

    Args:
      draws: of the symbols.
      lengths: T of each row.
      longest: the greatest T.
    """
    return _recalled(_symbols(draws), np.arange(RECALLED)[None], lengths, longest)


def selective_copying(draws: Draws, lengths: Lengths, longest: int) -> SyntheticBatch:
    """Returns the same with the symbols not at the start but anywhere before the delimiter.

    Which steps are to be remembered then depends on what is there: the denoise task of Jing et al.,
    Gated orthogonal recurrent units, Neural Computation 31(4), 2019, called selective copying by
    Gu, Dao, Mamba, 2023, who have 16 symbols to remember in 4,096 steps. The baseline is that of
    `copying`.

    Args:
      draws: of the symbols, then one for each step that may hold one.
      lengths: T of each row.
      longest: the greatest T.
    """
    room = np.arange(longest + RECALLED - 1) < lengths[:, None] + RECALLED - 1
    order = np.argsort(np.where(room, draws[:, RECALLED:], np.inf), axis=1, kind="stable")
    places = np.sort(order[:, :RECALLED], axis=1)
    return _recalled(_symbols(draws), places, lengths, longest)


def _symbols(draws: Draws) -> Int[np.ndarray, "rows recalled"]:
    return (draws[:, :RECALLED] * SYMBOLS).astype(int)


def _recalled(
    symbols: Int[np.ndarray, "rows recalled"],
    places: Int[np.ndarray, "_ recalled"],
    lengths: Lengths,
    longest: int,
) -> SyntheticBatch:
    """Returns sequences that hold symbols at some places before the delimiter."""
    steps, mask = _steps(lengths + 2 * RECALLED, longest + 2 * RECALLED)
    rows = np.arange(len(lengths))[:, None]
    delimiter = lengths[:, None] + RECALLED - 1
    inputs = np.where(steps == delimiter, DELIMITER, BLANK)
    inputs[rows, places] = symbols
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


def _of_symbols(mean_length: float) -> float:
    return RECALLED * math.log(SYMBOLS) / (mean_length + 2 * RECALLED)


PROBLEMS: dict[str, Problem] = {
    "adding": Problem(
        about="The sum of the two numbers that are marked, after the last step.",
        features=2,
        classes=0,
        least=2,
        extra=0,
        draws=lambda longest: longest + 2,
        make=adding,
        baseline=lambda _: 1 / 6,
    ),
    "copy": Problem(
        about="Ten symbols of eight from the start, after T blanks.",
        features=SYMBOLS + 2,
        classes=SYMBOLS + 1,
        least=1,
        extra=2 * RECALLED,
        draws=lambda _: RECALLED,
        make=copying,
        baseline=_of_symbols,
    ),
    "selective_copy": Problem(
        about="Ten symbols of eight from among the blanks before a delimiter.",
        features=SYMBOLS + 2,
        classes=SYMBOLS + 1,
        least=1,
        extra=2 * RECALLED,
        draws=lambda longest: RECALLED + longest + RECALLED - 1,
        make=selective_copying,
        baseline=_of_symbols,
    ),
    "parity": Problem(
        about="Whether the number of ones is odd, after the last bit.",
        features=2,
        classes=2,
        least=1,
        extra=0,
        draws=lambda longest: longest,
        make=parity,
        baseline=lambda _: math.log(2),
    ),
}
"""By the names that `config.data.memory.problem` has for them."""
