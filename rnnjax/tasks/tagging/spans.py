"""Spans of labels in IOB and IOBES schemes, and their precision, recall and F1.

The rules are those of the CoNLL-2000 evaluation (Tjong Kim Sang, Buchholz, CoNLL 2000), which the
library seqeval follows by default: a span of a type goes on as long as the labels let it, and one
that begins with `I-` counts as well.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

OUTSIDE = "O"


class Span(NamedTuple):
    """Consecutive tokens of a type.

    Attributes:
      type: 'PER', say; '' for labels without one.
      start: first token.
      stop: token after the last.
    """

    type: str
    start: int
    stop: int


class SpanScores(NamedTuple):
    """Precision, recall and F1 of spans; a ratio without a denominator is 0."""

    precision: float
    recall: float
    f1: float
    spans: int
    """Spans of the reference."""


def has_spans(labels: Iterable[str]) -> bool:
    """Returns whether a set of labels is of an IOB or IOBES scheme."""
    inside = [label for label in labels if label != OUTSIDE]
    return bool(inside) and all(label[:2] in ("B-", "I-", "E-", "S-") for label in inside)


def find_spans(labels: Sequence[str]) -> list[Span]:
    """Returns the spans of a sequence of labels, in their order."""
    spans, start, previous = [], 0, (OUTSIDE, "")
    for position, label in enumerate([*labels, OUTSIDE]):
        current = (OUTSIDE, "") if label == OUTSIDE else (label[0], label[2:])
        if previous[0] != OUTSIDE and _is_boundary(previous, current):
            spans.append(Span(previous[1], start, position))
        if current[0] != OUTSIDE and (previous[0] == OUTSIDE or _is_boundary(previous, current)):
            start = position
        previous = current
    return spans


def _is_boundary(previous: tuple[str, str], current: tuple[str, str]) -> bool:
    """Returns whether a span ends between two labels, each a prefix and a type."""
    return previous[0] in "ES" or current[0] in f"BS{OUTSIDE}" or previous[1] != current[1]


def score_spans(
    references: Sequence[Sequence[str]], predictions: Sequence[Sequence[str]]
) -> tuple[SpanScores, dict[str, SpanScores]]:
    """Returns the scores of all spans together, and those of each type, sorted."""
    expected = _number_spans(references)
    predicted = _number_spans(predictions)
    types = sorted({span.type for _, span in expected | predicted})
    by_type = {
        name: _score(
            {item for item in expected if item[1].type == name},
            {item for item in predicted if item[1].type == name},
        )
        for name in types
    }
    return _score(expected, predicted), by_type


def _number_spans(rows: Sequence[Sequence[str]]) -> set[tuple[int, Span]]:
    return {(number, span) for number, row in enumerate(rows) for span in find_spans(row)}


def _score(expected: set[tuple[int, Span]], predicted: set[tuple[int, Span]]) -> SpanScores:
    hits = len(expected & predicted)
    precision = hits / len(predicted) if predicted else 0.0
    recall = hits / len(expected) if expected else 0.0
    f1 = 2 * hits / (len(expected) + len(predicted)) if hits else 0.0
    return SpanScores(precision, recall, f1, len(expected))
