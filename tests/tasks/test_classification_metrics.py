"""Scores of a classifier against cases worked out by hand."""

import tracemalloc

import numpy as np
import pytest

from rnnjax.tasks import classification_metrics

LABELS = np.array([0, 0, 0, 1, 1, 2, 2, 2], np.int32)
ANSWERS = np.array([0, 0, 1, 1, 0, 2, 2, 1])
"""Of four classes the last never occurs and is never answered."""
SURE = np.array([0.9, 0.8, 0.95, 0.6, 0.7, 0.5, 0.85, 0.75])
"""The probability of the answer; the other classes share the rest."""


def log_probabilities(answers=ANSWERS, sure=SURE, classes=4):
    """Returns what a network would have answered."""
    rest = np.repeat((1 - sure)[:, None] / (classes - 1), classes, axis=1)
    rest[np.arange(len(answers)), answers] = sure
    return np.log(rest).astype(np.float32)


COUNTS = np.array([[2, 1, 0, 0], [1, 1, 0, 0], [0, 1, 2, 0], [0, 0, 0, 0]])


def test_the_confusion_counts_labels_by_row_and_answers_by_column():
    np.testing.assert_array_equal(
        classification_metrics.confusion_matrix(LABELS, log_probabilities()), COUNTS
    )


def test_each_class_has_its_scores_and_an_empty_one_zeros():
    rows = classification_metrics.per_class_scores(
        classification_metrics.count_per_class(LABELS, log_probabilities()), ["a", "b", "c", "d"]
    )
    expected = [
        {"name": "a", "precision": 2 / 3, "recall": 2 / 3, "f1": 2 / 3, "rows": 3},
        {"name": "b", "precision": 1 / 3, "recall": 1 / 2, "f1": 2 / 5, "rows": 2},
        {"name": "c", "precision": 1.0, "recall": 2 / 3, "f1": 4 / 5, "rows": 3},
        {"name": "d", "precision": 0.0, "recall": 0.0, "f1": 0.0, "rows": 0},
    ]
    assert [row["name"] for row in rows] == ["a", "b", "c", "d"]
    for row, hand in zip(rows, expected, strict=True):
        assert row == pytest.approx(hand)


def test_the_most_frequent_confusions_come_first():
    labels = np.array([0, 0, 0, 2, 1, 1], np.int32)
    answers = log_probabilities(np.array([1, 1, 0, 0, 1, 3]), np.full(6, 0.9))
    found = classification_metrics.most_confused_pairs(
        labels, answers, ["a", "b", "c", "d"], limit=2
    )
    assert found == [
        {"label": "a", "predicted": "b", "rows": 2, "share": pytest.approx(2 / 3)},
        {"label": "b", "predicted": "d", "rows": 1, "share": 0.5},
    ]


def test_ten_thousand_classes_take_no_square_of_memory():
    answers = np.zeros((200, 10_000), np.float32)
    answers[np.arange(200), np.arange(200) // 2] = 1.0
    labels = np.arange(200, dtype=np.int32)
    tracemalloc.start()
    try:
        classification_metrics.compute_metrics(labels, answers)
        classification_metrics.per_class_scores(
            classification_metrics.count_per_class(labels, answers), [""] * 10_000
        )
        classification_metrics.most_confused_pairs(labels, answers, [""] * 10_000)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 30_000_000  # the square has 800 million bytes


def test_the_summary_leaves_out_a_class_that_does_not_occur():
    summary = classification_metrics.compute_metrics(LABELS, log_probabilities())
    right = LABELS == ANSWERS
    losses = -np.log(np.where(right, SURE, (1 - SURE) / 3))
    assert summary == pytest.approx(
        {
            "loss": losses.mean(),
            "accuracy": 5 / 8,
            "macro_f1": (2 / 3 + 2 / 5 + 4 / 5) / 3,
            "rows": 8,
        }
    )


def test_a_class_that_is_never_right_counts_zero():
    answers = log_probabilities(np.array([0, 0, 3]), np.full(3, 0.9))
    summary = classification_metrics.compute_metrics(np.array([0, 1, 0], np.int32), answers)
    # Class 0: 1 of 2 answers, 1 of 2 rows. Class 1 occurs and class 3 is answered, both in vain.
    assert summary["macro_f1"] == pytest.approx((0.5 + 0 + 0) / 3)


@pytest.mark.parametrize("groups", [1, 3, 8])
def test_accuracy_by_length_counts_every_row_once(groups):
    rng = np.random.default_rng(groups)
    lengths = rng.integers(0, 40, 100)
    labels = rng.integers(0, 4, 100).astype(np.int32)
    answers = log_probabilities(rng.integers(0, 4, 100), rng.uniform(0.4, 1, 100))
    parts = classification_metrics.accuracy_by_length(labels, answers, lengths, groups)
    assert len(parts) == groups
    assert sum(part["rows"] for part in parts) == 100
    assert max(part["rows"] for part in parts) < 2 * 100 / groups
    hits = answers.argmax(axis=1) == labels
    assert sum(part["rows"] * part["accuracy"] for part in parts) == pytest.approx(hits.sum())
    end = -1
    for part in parts:
        inside = (part["from"] <= lengths) & (lengths <= part["to"])
        assert end < part["from"] <= part["to"]
        assert inside.sum() == part["rows"]
        assert part["accuracy"] == pytest.approx(hits[inside].mean())
        end = part["to"]
    assert (parts[0]["from"], parts[-1]["to"]) == (lengths.min(), lengths.max())


def test_texts_of_one_length_are_one_group():
    (part,) = classification_metrics.accuracy_by_length(LABELS, log_probabilities(), np.full(8, 5))
    assert part == {"from": 5, "to": 5, "rows": 8, "accuracy": 5 / 8}


def test_the_worst_mistakes_come_first_and_are_all_wrong():
    # Wrong are rows 2, 4 and 7, the more so the surer.
    assert classification_metrics.worst_mistakes(LABELS, log_probabilities()).tolist() == [2, 7, 4]
    assert classification_metrics.worst_mistakes(LABELS, log_probabilities(), limit=2).tolist() == [
        2,
        7,
    ]
    assert classification_metrics.worst_mistakes(ANSWERS, log_probabilities()).tolist() == []


def test_scores_of_seeds_become_means_with_their_spread():
    def result(loss, accuracy, f1):
        return {"test": {"loss": loss, "accuracy": accuracy, "macro_f1": f1, "rows": 9}}

    shown = ("accuracy", "loss")
    told = {"steps": 4, "seeds": [2, 3, 4]}
    results = [result(1.0, 0.5, 0.4), result(2.0, 0.7, 0.6), result(3.0, 0.9, 0.5)]
    both = classification_metrics.summarize_seeds(told, results)
    assert {key: both[key] for key in told} == told
    assert "validation" not in both
    assert both["test"]["rows"] == 9
    assert both["test"]["loss"] == {"mean": 2.0, "sd": 1.0, "by_seed": [1.0, 2.0, 3.0]}
    assert both["test"]["accuracy"]["sd"] == pytest.approx(0.2)
    line = "test accuracy 0.7000 ± 0.2000, loss 2.0000 ± 1.0000 on 9 rows"
    seeds = "(mean ± standard deviation of seeds 2 to 4)"
    assert classification_metrics.format_scores(both, shown, "rows") == f"{line} {seeds}"
    alone = {"test": {"accuracy": 0.5, "loss": 1.0, "rows": 9}}
    assert (
        classification_metrics.format_scores(alone, shown, "rows")
        == "test accuracy 0.5000, loss 1.0000 on 9 rows"
    )
    alone["test"]["unknown_share"] = 0.25
    assert classification_metrics.format_scores(alone, shown, "rows").endswith(
        "on 9 rows, 25.0% of the tokens unknown"
    )
