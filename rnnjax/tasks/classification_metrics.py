"""How good the answers of a classifier are."""

import statistics
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

MATRIX_CLASSES = 50
"""With more classes than this a result has the most frequent confusions, not a matrix of all: that
would have as many numbers as the square of the classes."""


class ClassificationCounts(NamedTuple):
    """Counts of each class.

    Attributes:
      hits: rows answered rightly.
      rows: rows whose class it is.
      answers: rows answered with it.
    """

    hits: Int[np.ndarray, " classes"]
    rows: Int[np.ndarray, " classes"]
    answers: Int[np.ndarray, " classes"]


def count_per_class(
    labels: Int[np.ndarray, " rows"], log_probabilities: Float[np.ndarray, "rows classes"]
) -> ClassificationCounts:
    """Returns the counts of each class; memory follows the classes, not their square."""
    predicted, classes = log_probabilities.argmax(axis=1), log_probabilities.shape[1]
    hits = labels[predicted == labels]
    return ClassificationCounts(
        *(np.bincount(each, minlength=classes) for each in (hits, labels, predicted))
    )


def compute_metrics(
    labels: Int[np.ndarray, " rows"], log_probabilities: Float[np.ndarray, "rows classes"]
) -> dict[str, float | int]:
    """Returns loss (mean cross-entropy in nats), accuracy, macro_f1 and rows.

    macro_f1 is the mean over the classes that occur among the labels or the answers; a class that
    is never right counts 0.
    """
    counts = count_per_class(labels, log_probabilities)
    f1 = [row["f1"] for row in per_class_scores(counts, [""] * len(counts.rows))]
    occurs = counts.rows + counts.answers > 0
    of_label = log_probabilities[np.arange(len(labels)), labels]
    return {
        "loss": float(-np.mean(of_label, dtype=np.float64)),
        "accuracy": float(counts.hits.sum() / len(labels)),
        "macro_f1": float(np.mean(np.asarray(f1)[occurs])),
        "rows": len(labels),
    }


def confusion_matrix(
    labels: Int[np.ndarray, " rows"], log_probabilities: Float[np.ndarray, "rows classes"]
) -> Int[np.ndarray, "classes classes"]:
    """Returns how often each class (row) was answered with each class (column)."""
    classes = log_probabilities.shape[1]
    pairs = labels * classes + log_probabilities.argmax(axis=1)
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def most_confused_pairs(
    labels: Int[np.ndarray, " rows"],
    log_probabilities: Float[np.ndarray, "rows classes"],
    names: Sequence[str],
    most: int = 50,
) -> list[dict[str, Any]]:
    """Returns label, predicted, rows and share (of the label's rows) of the commonest mistakes."""
    predicted, classes = log_probabilities.argmax(axis=1), log_probabilities.shape[1]
    wrong = predicted != labels
    pairs = labels[wrong].astype(np.int64) * classes + predicted[wrong]
    found, counts = np.unique(pairs, return_counts=True)
    rows = np.bincount(labels, minlength=classes)
    return [
        {
            "label": names[label],
            "predicted": names[answer],
            "rows": int(count),
            "share": float(count / rows[label]),
        }
        for place in np.argsort(-counts, kind="stable")[:most]
        for (label, answer), count in [(divmod(int(found[place]), classes), counts[place])]
    ]


def per_class_scores(counts: ClassificationCounts, names: Sequence[str]) -> list[dict[str, Any]]:
    """Returns name, precision, recall, f1 and rows of each class; a ratio of nothing is 0."""
    hits, rows, answers = counts

    def ratio(part: Any, whole: Any) -> float:
        return float(part / whole) if whole else 0.0

    return [
        {
            "name": name,
            "precision": ratio(hits[index], answers[index]),
            "recall": ratio(hits[index], rows[index]),
            "f1": ratio(2 * hits[index], rows[index] + answers[index]),
            "rows": int(rows[index]),
        }
        for index, name in enumerate(names)
    ]


def accuracy_by_length(
    labels: Int[np.ndarray, " rows"],
    log_probabilities: Float[np.ndarray, "rows classes"],
    lengths: Int[np.ndarray, " rows"],
    groups: int = 8,
) -> list[dict[str, Any]]:
    """Returns from, to (tokens, both included), rows and accuracy of groups of about equal size."""
    hits = log_probabilities.argmax(axis=1) == labels
    ends = np.unique(np.quantile(lengths, np.linspace(0, 1, groups + 1)[1:], method="higher"))
    which = np.searchsorted(ends, lengths)
    return [
        {
            "from": int(lengths[which == index].min()),
            "to": int(lengths[which == index].max()),
            "rows": int(np.sum(which == index)),
            "accuracy": float(np.mean(hits[which == index])),
        }
        for index in range(len(ends))
    ]


def worst_mistakes(
    labels: Int[np.ndarray, " rows"],
    log_probabilities: Float[np.ndarray, "rows classes"],
    most: int = 20,
) -> Int[np.ndarray, " mistakes"]:
    """Returns the rows answered wrongly whose own class had the least probability, worst first."""
    of_label = log_probabilities[np.arange(len(labels)), labels]
    order = np.argsort(of_label, kind="stable")
    return order[log_probabilities.argmax(axis=1)[order] != labels[order]][:most]


def summarize_seeds(told: dict[str, Any], results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Returns results of several seeds as one: what is told of all, and the scores of each split.

    Each score has its 'mean', its 'sd' (standard deviation, of a sample) and its values 'by_seed'.
    """

    def spread(values: list[float]) -> dict[str, Any]:
        return {
            "mean": statistics.mean(values),
            "sd": statistics.stdev(values),
            "by_seed": values,
        }

    splits = [split for split in ("validation", "test") if split in results[0]]
    return {
        **told,
        **{
            split: {
                name: spread([result[split][name] for result in results])
                for name in results[0][split]
                if name != "rows"
            }
            | {"rows": results[0][split]["rows"]}
            for split in splits
        },
    }


def format_scores(result: dict[str, Any], names: Sequence[str], counted: str) -> str:
    """Returns test scores of a result, of one seed or as `summarize_seeds` returns it, in a line.

    Args:
      result: as result.json has it.
      names: of the scores.
      counted: what they are of.
    """
    test, seeds = result["test"], result.get("seeds")

    def value(score: Any) -> str:
        return f"{score['mean']:.4f} ± {score['sd']:.4f}" if seeds else f"{score:.4f}"

    told = ", ".join(f"{name} {value(test[name])}" for name in names)
    of = f" (mean ± standard deviation of seeds {seeds[0]} to {seeds[-1]})" if seeds else ""
    share = test.get("unknown_share", 0.0)
    share = share["mean"] if isinstance(share, dict) else share
    unknown = f", {share:.1%} of the tokens unknown" if share else ""
    return f"test {told} on {test['rows']} {counted}{of}{unknown}"
