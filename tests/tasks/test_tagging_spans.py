"""Spans of labels and their scores."""

import pytest

from rnnjax.tasks.tagging import metrics
from rnnjax.tasks.tagging.spans import Span, find_spans, has_spans, score_spans


@pytest.mark.parametrize(
    ("labels", "spans"),
    [
        ("B-PER I-PER O B-LOC", [("PER", 0, 2), ("LOC", 3, 4)]),
        ("I-PER I-PER O", [("PER", 0, 2)]),  # a span that begins inside
        ("B-PER B-PER", [("PER", 0, 1), ("PER", 1, 2)]),
        ("B-PER I-LOC", [("PER", 0, 1), ("LOC", 1, 2)]),
        ("S-PER S-PER", [("PER", 0, 1), ("PER", 1, 2)]),
        ("B-PER I-PER E-PER I-PER", [("PER", 0, 3), ("PER", 3, 4)]),
        ("B-X-Y I-X-Y", [("X-Y", 0, 2)]),
        ("O O", []),
        ("", []),
    ],
)
def test_spans(labels, spans):
    assert find_spans(labels.split()) == [Span(*span) for span in spans]


def test_scores_of_spans():
    # Two spans, of which one is predicted, and a second one with a wrong end.
    references = [["B-PER", "I-PER", "O", "B-LOC"]]
    predictions = [["B-PER", "I-PER", "O", "O"], ["B-LOC"]]
    total, by_type = score_spans([*references, ["O"]], predictions)
    assert (total.precision, total.recall, total.f1, total.spans) == (0.5, 0.5, 0.5, 2)
    assert by_type["PER"] == (1.0, 1.0, 1.0, 1)
    assert by_type["LOC"] == (0.0, 0.0, 0.0, 1)


def test_a_scheme_is_recognised_by_its_prefixes():
    assert has_spans(["O", "B-PER", "I-PER"])
    assert has_spans(["S-PER"])
    assert not has_spans(["O"])
    assert not has_spans(["name", "O"])


def test_scores_of_labels():
    rows = metrics.score_labels([["a", "a", "b"]], [["a", "b", "c"]])
    assert [row["name"] for row in rows] == ["a", "b", "c"]
    assert [row["rows"] for row in rows] == [2, 1, 0]
    assert [row["precision"] for row in rows] == [1.0, 0.0, 0.0]
    assert [row["recall"] for row in rows] == [0.5, 0.0, 0.0]
    assert rows[0]["f1"] == pytest.approx(2 / 3)
    summary = metrics.summarize([["a", "a", "b"]], [["a", "b", "c"]])
    assert summary == {"macro_f1": pytest.approx(2 / 9)}
