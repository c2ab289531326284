"""Problems of long memory: adding, copying, selective copying, parity."""

import math

import numpy as np
from jaxtyping import Int

from rnnjax.tasks.memory.problem import (
    Draws,
    Lengths,
    Problem,
    SyntheticBatch,
    mean_length,
    valid_steps,
)

SYMBOLS = 8
"""Different symbols to remember; the next two numbers are the blank and the delimiter."""
BLANK, DELIMITER = SYMBOLS, SYMBOLS + 1
RECALLED = 10
"""Symbols to remember in a sequence."""


def adding(draws: Draws, lengths: Lengths, longest: int) -> SyntheticBatch:
    """Adding problem: the sum of the two marked numbers of a sequence, predicted at its last step.

    Numbers are from 0 to 1, the first mark in the first half, the second in the other. Hochreiter,
    Schmidhuber, Long short-term memory, Neural Computation 9(8), 1997, in the form of Arjovsky,
    Shah, Bengio, Unitary evolution recurrent neural networks, ICML 2016, section 5.2. To answer 1
    always has the mean squared error 1/6, twice the variance of a number.
    """
    steps, mask = valid_steps(lengths, longest)
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
    steps, mask = valid_steps(lengths, longest)
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
    steps, mask = valid_steps(lengths + 2 * RECALLED, longest + 2 * RECALLED)
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


def _symbol_baseline(lengths: range) -> float:
    return RECALLED * math.log(SYMBOLS) / (mean_length(lengths) + 2 * RECALLED)


LONG_MEMORY: dict[str, Problem] = {
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
        chance=lambda _: 1 / SYMBOLS,
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
        chance=lambda _: 1 / SYMBOLS,
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
        chance=lambda _: 1 / 2,
    ),
}
"""Problems of long memory by their names."""
