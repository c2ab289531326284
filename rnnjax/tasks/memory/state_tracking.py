"""Problems of state tracking: arithmetic, permutations, and recall by association.

Which of them a recurrence can solve depends on its transitions: Merrill, Petty, Sabharwal, The
illusion of state in state-space models, ICML 2024; Grazzi et al., Unlocking state-tracking in
linear RNNs through negative eigenvalues, ICLR 2025, arXiv:2411.12537.
"""

import itertools
import math
from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Float64, Int

from rnnjax.tasks.memory.problem import (
    Draws,
    Lengths,
    Problem,
    SyntheticBatch,
    mean_length,
    valid_steps,
)

MODULUS = 5
"""Of the arithmetic. The tokens are the numbers, plus, minus, times and the two brackets."""
PLUS, MINUS, TIMES, OPENING, CLOSING = range(MODULUS, MODULUS + 5)
KEYS, VALUES, PAIRS = 16, 8, 8
"""Of the recall: different keys and values, and pairs of a sequence. A token is a key, then the
values follow, then the blank."""


def modular_arithmetic(draws: Draws, lengths: Lengths, longest: int) -> SyntheticBatch:
    """Arithmetic modulo 5 without brackets: the result, predicted at the last number.

    Numbers and operators take turns; times binds before plus and minus. A sequence of even length
    is one token shorter. Delétang et al., Neural networks and the Chomsky hierarchy, ICLR 2023.

    Args:
      draws: of the tokens.
      lengths: tokens of each row.
      longest: the greatest length.
    """
    lengths = lengths - (lengths + 1) % 2
    steps, mask = valid_steps(lengths, longest)
    numbers = (draws[:, :longest] * MODULUS).astype(int)
    operators = PLUS + (draws[:, :longest] * 3).astype(int)
    tokens = np.where(steps % 2 == 0, numbers, operators)
    total, term = np.zeros(len(lengths), int), np.zeros(len(lengths), int)
    targets = np.zeros(len(lengths), int)
    for step in range(0, longest, 2):
        number, operator = tokens[:, step], tokens[:, step - 1] if step else PLUS
        is_product = operator == TIMES
        total = np.where(is_product, total, total + term)
        sign = np.where(operator == MINUS, -1, 1)
        term = np.where(is_product, term * number, sign * number) % MODULUS
        targets = np.where(steps[step] == lengths - 1, (total + term) % MODULUS, targets)
    return _final_answer(tokens, TIMES + 1, mask, lengths, targets)


def bracket_arithmetic(draws: Draws, lengths: Lengths, longest: int) -> SyntheticBatch:
    """Arithmetic modulo 5 with brackets: the result, predicted at the last bracket.

    An expression is a number, or two expressions with an operator between them in brackets. The
    operations of a sequence are shared between the two evenly, at random; a sequence whose length
    is not 4 k + 1 is shorter. After the task with brackets of Delétang et al. 2023, whose
    expressions are drawn otherwise.

    Args:
      draws: of the operators, the parts and the numbers.
      lengths: tokens of each row.
      longest: the greatest length.
    """
    operations = (lengths - 1) // 4
    lengths = 4 * operations + 1
    _, mask = valid_steps(lengths, longest)
    tokens, targets = np.zeros(mask.shape, int), np.zeros(len(lengths), int)
    for row, count in enumerate(operations):
        expression, targets[row] = _expression(int(count), iter(draws[row]))
        tokens[row, : len(expression)] = expression
    return _final_answer(tokens, CLOSING + 1, mask, lengths, targets)


def _expression(operations: int, draws: Iterator[float]) -> tuple[list[int], int]:
    """Returns the tokens and the value of an expression."""
    if not operations:
        number = int(next(draws) * MODULUS)
        return [number], number
    operator = PLUS + int(next(draws) * 3)
    left_operations = int(next(draws) * operations)
    left, left_value = _expression(left_operations, draws)
    right, right_value = _expression(operations - 1 - left_operations, draws)
    values = {
        PLUS: left_value + right_value,
        MINUS: left_value - right_value,
        TIMES: left_value * right_value,
    }
    return [OPENING, *left, operator, *right, CLOSING], values[operator] % MODULUS


def permutations(size: int) -> Callable[[Draws, Lengths, int], SyntheticBatch]:
    """Returns the word problem of the symmetric group: the product so far, at every step.

    Inputs and targets are elements of the group, numbered in the lexicographic order of their
    permutations, the identity first. The accuracy is that of the last product. Merrill, Petty,
    Sabharwal 2024.

    Args:
      size: of what is permuted.
    """
    elements = list(itertools.permutations(range(size)))
    numbers = {element: number for number, element in enumerate(elements)}
    products = np.array(
        [[numbers[tuple(second[i] for i in first)] for first in elements] for second in elements]
    )

    def generate(draws: Draws, lengths: Lengths, longest: int) -> SyntheticBatch:
        steps, mask = valid_steps(lengths, longest)
        tokens = (draws[:, :longest] * len(elements)).astype(int)
        targets = tokens.copy()
        for step in range(1, longest):
            targets[:, step] = products[tokens[:, step], targets[:, step - 1]]
        return SyntheticBatch(
            inputs=np.eye(len(elements), dtype=np.float32)[tokens] * mask[..., None],
            mask=mask,
            targets=np.where(mask, targets, 0).astype(np.int32),
            weights=mask.astype(np.float32),
            recalls=steps == lengths[:, None] - 1,
        )

    return generate


def associative_recall(draws: Draws, lengths: Lengths, longest: int) -> SyntheticBatch:
    """Recall by association: the value of each key, asked for in another order after T blanks.

    Eight pairs of a key and a value, T blanks, and the eight keys, T + 24 steps. Keys differ,
    values need not. After Arora et al., Zoology: measuring and improving recall in efficient
    language models, ICLR 2024, arXiv:2312.04927, who ask among more pairs and tokens.

    Args:
      draws: of the keys, the values and the order of the questions.
      lengths: T of each row.
      longest: the greatest T.
    """
    steps, mask = valid_steps(lengths + 3 * PAIRS, longest + 3 * PAIRS)
    key_draws, value_draws, order_draws = np.split(draws, [KEYS, KEYS + PAIRS], axis=1)
    keys = np.argsort(key_draws, axis=1, kind="stable")[:, :PAIRS]
    values = (value_draws * VALUES).astype(int)
    order = np.argsort(order_draws, axis=1, kind="stable")
    rows, first_question = np.arange(len(lengths))[:, None], 2 * PAIRS + lengths[:, None]
    questions = first_question + np.arange(PAIRS)
    tokens = np.full(mask.shape, KEYS + VALUES)
    tokens[:, : 2 * PAIRS : 2], tokens[:, 1 : 2 * PAIRS : 2] = keys, KEYS + values
    tokens[rows, questions] = np.take_along_axis(keys, order, axis=1)
    targets = np.zeros(mask.shape, int)
    targets[rows, questions] = np.take_along_axis(values, order, axis=1)
    is_question = (steps >= first_question) & mask
    return SyntheticBatch(
        inputs=np.eye(KEYS + VALUES + 1, dtype=np.float32)[tokens] * mask[..., None],
        mask=mask,
        targets=targets.astype(np.int32),
        weights=is_question.astype(np.float32),
        recalls=is_question,
    )


def _final_answer(
    tokens: Int[np.ndarray, "rows time"],
    num_tokens: int,
    mask: np.ndarray,
    lengths: Lengths,
    targets: Int[np.ndarray, " rows"],
) -> SyntheticBatch:
    """Returns sequences with a class at their last step."""
    last = np.arange(mask.shape[1]) == lengths[:, None] - 1
    return SyntheticBatch(
        inputs=np.eye(num_tokens, dtype=np.float32)[np.where(mask, tokens, 0)] * mask[..., None],
        mask=mask,
        targets=np.where(last, targets[:, None], 0).astype(np.int32),
        weights=last.astype(np.float32),
        recalls=last,
    )


def arithmetic_zeros(numbers: int) -> Float64[np.ndarray, " numbers"]:
    """Returns the probabilities that results without brackets are 0, of one number, two, and so on.

    By symmetry all other results are equally probable.

    Args:
      numbers: of the longest expression.
    """
    # Probabilities of the sum of the finished terms (rows) and the last term (columns).
    joint = np.zeros((MODULUS, MODULUS))
    joint[0] = 1 / MODULUS
    digits = np.arange(MODULUS)
    zeros = np.empty(numbers)
    for number in range(numbers):
        zeros[number] = joint[digits, -digits % MODULUS].sum()
        sums = np.zeros(MODULUS)
        np.add.at(sums, (digits[:, None] + digits) % MODULUS, joint)
        following = np.outer(sums, np.full(MODULUS, 1 / MODULUS)) * 2 / 3
        for digit in digits:
            np.add.at(following.T, digits * digit % MODULUS, joint.T / (3 * MODULUS))
        joint = following
    return zeros


def bracket_zeros(operations: int) -> Float64[np.ndarray, " expressions"]:
    """Returns the probabilities that results with brackets are 0, of no operation, one, and so on.

    By symmetry all other results are equally probable.

    Args:
      operations: of the longest expression.
    """
    zeros = np.full(operations + 1, 1 / MODULUS)
    for count in range(1, operations + 1):
        # The operations of the left part are 0 to count - 1, equally probable.
        left = zeros[:count]
        right = left[::-1]
        of_sum = left * right + (1 - left) * (1 - right) / (MODULUS - 1)
        of_product = left + right - left * right
        zeros[count] = ((2 * of_sum + of_product) / 3).mean()
    return zeros


def _arithmetic(
    description: str,
    num_tokens: int,
    min_length: int,
    generate: Callable[[Draws, Lengths, int], SyntheticBatch],
    zeros: Callable[[Lengths], Float64[np.ndarray, " lengths"]],
) -> Problem:
    """Returns a problem whose best answer without memory and inputs is the distribution of results.

    Args:
      description: as for `Problem`.
      num_tokens: different tokens.
      min_length: as for `Problem`.
      generate: as for `Problem`.
      zeros: returns the probability that the result is 0 of each length.
    """

    def chance(lengths: range) -> float:
        return float(zeros(np.asarray(lengths)).mean())

    def baseline(lengths: range) -> float:
        zero = chance(lengths)
        return -zero * math.log(zero) - (1 - zero) * math.log((1 - zero) / (MODULUS - 1))

    return Problem(
        description=description,
        features=num_tokens,
        classes=MODULUS,
        min_length=min_length,
        extra_steps=0,
        num_draws=lambda longest: longest,
        generate=generate,
        baseline=baseline,
        chance=chance,
    )


def _word_problem(size: int) -> Problem:
    order = math.factorial(size)
    return Problem(
        description=f"The product so far of permutations of {size}, after each.",
        features=order,
        classes=order,
        min_length=1,
        extra_steps=0,
        num_draws=lambda longest: longest,
        generate=permutations(size),
        # The first product is the first permutation.
        baseline=lambda lengths: math.log(order) * (1 - 1 / mean_length(lengths)),
        chance=lambda _: 1 / order,
    )


STATE_TRACKING: dict[str, Problem] = {
    "modular_arithmetic": _arithmetic(
        "The result of numbers, plus, minus and times modulo 5, after the last number.",
        TIMES + 1,
        3,
        modular_arithmetic,
        lambda lengths: arithmetic_zeros((lengths[-1] + 1) // 2)[(lengths - 1) // 2],
    ),
    "bracket_arithmetic": _arithmetic(
        "The result of numbers, plus, minus, times and brackets modulo 5, after the last bracket.",
        CLOSING + 1,
        5,
        bracket_arithmetic,
        lambda lengths: bracket_zeros((lengths[-1] - 1) // 4)[(lengths - 1) // 4],
    ),
    "permutations_3": _word_problem(3),
    "permutations_5": _word_problem(5),
    "associative_recall": Problem(
        description="The value of each of eight keys, asked for in another order after T blanks.",
        features=KEYS + VALUES + 1,
        classes=VALUES,
        min_length=1,
        extra_steps=3 * PAIRS,
        num_draws=lambda _: KEYS + 2 * PAIRS,
        generate=associative_recall,
        baseline=lambda _: math.log(VALUES),
        chance=lambda _: 1 / VALUES,
    ),
}
"""Problems of state tracking by their names."""
