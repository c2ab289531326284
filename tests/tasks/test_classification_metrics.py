"""Metrics of classifiers against cases computed by hand."""

import tracemalloc

import numpy as np
import pytest

from rnnjax.tasks.class_scores import confusion_matrix, score_classes
from rnnjax.tasks.classification import metrics as classification_metrics
from rnnjax.training.results import format_scores, summarize_seeds

LABELS = np.array([0, 0, 0, 1, 1, 2, 2, 2], np.int32)
PREDICTIONS = np.array([0, 0, 1, 1, 0, 2, 2, 1])
"""Of four classes, the last is neither a label nor a prediction."""
CONFIDENCE = np.array([0.9, 0.8, 0.95, 0.6, 0.7, 0.5, 0.85, 0.75])
"""Probabilities of the predictions; the remaining classes share the rest."""


def log_probabilities(predictions=PREDICTIONS, confidence=CONFIDENCE, classes=4):
    """Returns log-probabilities with given argmax and maximum."""
    probabilities = np.repeat((1 - confidence)[:, None] / (classes - 1), classes, axis=1)
    probabilities[np.arange(len(predictions)), predictions] = confidence
    return np.log(probabilities).astype(np.float32)


COUNTS = np.array([[2, 1, 0, 0], [1, 1, 0, 0], [0, 1, 2, 0], [0, 0, 0, 0]])


def test_confusion_matrix_has_labels_in_rows():
    np.testing.assert_array_equal(confusion_matrix(LABELS, PREDICTIONS, 4), COUNTS)


def test_scores_of_each_class():
    rows = score_classes(
        classification_metrics.count_per_class(LABELS, log_probabilities()), ["a", "b", "c", "d"]
    )
    expected = [
        {"name": "a", "precision": 2 / 3, "recall": 2 / 3, "f1": 2 / 3, "rows": 3},
        {"name": "b", "precision": 1 / 3, "recall": 1 / 2, "f1": 2 / 5, "rows": 2},
        {"name": "c", "precision": 1.0, "recall": 2 / 3, "f1": 4 / 5, "rows": 3},
        {"name": "d", "precision": 0.0, "recall": 0.0, "f1": 0.0, "rows": 0},
    ]
    assert [row["name"] for row in rows] == ["a", "b", "c", "d"]
    for row, expected_row in zip(rows, expected, strict=True):
        assert row == pytest.approx(expected_row)


def test_most_confused_pairs_are_sorted():
    labels = np.array([0, 0, 0, 2, 1, 1], np.int32)
    log_probs = log_probabilities(np.array([1, 1, 0, 0, 1, 3]), np.full(6, 0.9))
    pairs = classification_metrics.most_confused_pairs(
        labels, log_probs, ["a", "b", "c", "d"], limit=2
    )
    assert pairs == [
        {"label": "a", "predicted": "b", "rows": 2, "share": pytest.approx(2 / 3)},
        {"label": "b", "predicted": "d", "rows": 1, "share": 0.5},
    ]


def test_memory_is_linear_in_the_classes():
    log_probs = np.zeros((200, 10_000), np.float32)
    log_probs[np.arange(200), np.arange(200) // 2] = 1.0
    labels = np.arange(200, dtype=np.int32)
    tracemalloc.start()
    try:
        classification_metrics.compute_metrics(labels, log_probs)
        score_classes(classification_metrics.count_per_class(labels, log_probs), [""] * 10_000)
        classification_metrics.most_confused_pairs(labels, log_probs, [""] * 10_000)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 30_000_000  # the square has 800 million bytes


def test_macro_f1_skips_absent_classes():
    metrics = classification_metrics.compute_metrics(LABELS, log_probabilities())
    is_correct = LABELS == PREDICTIONS
    losses = -np.log(np.where(is_correct, CONFIDENCE, (1 - CONFIDENCE) / 3))
    assert metrics == pytest.approx(
        {
            "loss": losses.mean(),
            "accuracy": 5 / 8,
            "macro_f1": (2 / 3 + 2 / 5 + 4 / 5) / 3,
            "rows": 8,
        }
    )


def test_macro_f1_counts_zero_for_missed_classes():
    log_probs = log_probabilities(np.array([0, 0, 3]), np.full(3, 0.9))
    metrics = classification_metrics.compute_metrics(np.array([0, 1, 0], np.int32), log_probs)
    # Class 0: 1 of 2 predictions, 1 of 2 rows. Classes 1 and 3 have no hit.
    assert metrics["macro_f1"] == pytest.approx((0.5 + 0 + 0) / 3)


@pytest.mark.parametrize("groups", [1, 3, 8])
def test_accuracy_by_length_counts_every_row_once(groups):
    rng = np.random.default_rng(groups)
    lengths = rng.integers(0, 40, 100)
    labels = rng.integers(0, 4, 100).astype(np.int32)
    log_probs = log_probabilities(rng.integers(0, 4, 100), rng.uniform(0.4, 1, 100))
    rows = classification_metrics.accuracy_by_length(labels, log_probs, lengths, groups)
    assert len(rows) == groups
    assert sum(row["rows"] for row in rows) == 100
    assert max(row["rows"] for row in rows) < 2 * 100 / groups
    hits = log_probs.argmax(axis=1) == labels
    assert sum(row["rows"] * row["accuracy"] for row in rows) == pytest.approx(hits.sum())
    previous_end = -1
    for row in rows:
        in_range = (row["from"] <= lengths) & (lengths <= row["to"])
        assert previous_end < row["from"] <= row["to"]
        assert in_range.sum() == row["rows"]
        assert row["accuracy"] == pytest.approx(hits[in_range].mean())
        previous_end = row["to"]
    assert (rows[0]["from"], rows[-1]["to"]) == (lengths.min(), lengths.max())


def test_accuracy_by_length_of_equal_lengths_is_one_group():
    (row,) = classification_metrics.accuracy_by_length(LABELS, log_probabilities(), np.full(8, 5))
    assert row == {"from": 5, "to": 5, "rows": 8, "accuracy": 5 / 8}


def test_worst_mistakes_are_sorted_by_confidence():
    # Rows 2, 4 and 7 are misclassified.
    assert classification_metrics.worst_mistakes(LABELS, log_probabilities()).tolist() == [2, 7, 4]
    assert classification_metrics.worst_mistakes(LABELS, log_probabilities(), limit=2).tolist() == [
        2,
        7,
    ]
    assert classification_metrics.worst_mistakes(PREDICTIONS, log_probabilities()).tolist() == []


def test_seed_summary_has_mean_and_standard_deviation():
    def result(loss, accuracy, f1):
        return {"test": {"loss": loss, "accuracy": accuracy, "macro_f1": f1, "rows": 9}}

    metrics = ("accuracy", "loss")
    shared = {"steps": 4, "seeds": [2, 3, 4]}
    results = [result(1.0, 0.5, 0.4), result(2.0, 0.7, 0.6), result(3.0, 0.9, 0.5)]
    summary = summarize_seeds(shared, results)
    assert {key: summary[key] for key in shared} == shared
    assert "validation" not in summary
    assert summary["test"]["rows"] == 9
    assert summary["test"]["loss"] == {"mean": 2.0, "sd": 1.0, "by_seed": [1.0, 2.0, 3.0]}
    assert summary["test"]["accuracy"]["sd"] == pytest.approx(0.2)
    line = "test accuracy 0.7000 ± 0.2000, loss 2.0000 ± 1.0000 on 9 rows"
    seeds = "(mean ± standard deviation of seeds 2 to 4)"
    assert format_scores(summary, metrics, "rows") == f"{line} {seeds}"
    single = {"test": {"accuracy": 0.5, "loss": 1.0, "rows": 9}}
    assert format_scores(single, metrics, "rows") == "test accuracy 0.5000, loss 1.0000 on 9 rows"
    single["test"]["unknown_share"] = 0.25
    assert format_scores(single, metrics, "rows").endswith("on 9 rows, 25.0% of the tokens unknown")
