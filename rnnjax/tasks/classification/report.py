"""The part of a report on a classifier: its confusions, classes, accuracy by length, mistakes."""

import math
from typing import NamedTuple, Self

import pydantic

from rnnjax.reporting.run_files import Record
from rnnjax.reporting.run_report import Reference, ReportPart, ScoreInterval, wilson
from rnnjax.reporting.run_schema import RecordModel, Share
from rnnjax.reporting.templates import format_percent
from rnnjax.tasks.class_scores import ClassScores

_MAX_MISTAKES = 50
_MAX_CLASSES = 50
_MAX_CONFUSIONS = 6


class ConfusedPair(RecordModel):
    """A frequent confusion of two classes."""

    label: str
    predicted: str
    rows: int
    share: Share = None
    """Of the rows of the label."""


class LengthBin(RecordModel):
    """Accuracy on texts of similar length in tokens, both ends included."""

    first: int = pydantic.Field(alias="from")
    last: int = pydantic.Field(alias="to")
    rows: int
    accuracy: Share = None


class Mistake(RecordModel):
    """A misclassified row."""

    text: str
    label: str
    predicted: str
    probability: Share = None
    """Probability of the predicted class."""
    probability_of_label: Share = None


class ClassificationDetails(RecordModel):
    """The entries that the task adds to a result."""

    confusion: list[list[int]] = pydantic.Field(default=[])
    """A row for each true class, a column for each predicted one."""
    most_confused_pairs: list[ConfusedPair] = pydantic.Field(default=[])
    """Instead of `confusion` if that would be too large."""
    per_class: list[ClassScores] = pydantic.Field(default=[])
    accuracy_by_length: list[LengthBin] = pydantic.Field(default=[])
    worst_mistakes: list[Mistake] = pydantic.Field(default=[])

    @pydantic.model_validator(mode="after")
    def _sizes_agree(self) -> Self:
        sizes = {len(row) for row in self.confusion}
        if self.confusion and sizes != {len(self.confusion)}:
            raise ValueError(f"confusion has {len(self.confusion)} rows of {sizes} columns")
        if self.confusion and self.per_class and len(self.per_class) != len(self.confusion):
            raise ValueError(
                f"per_class has {len(self.per_class)} classes, confusion {len(self.confusion)}"
            )
        return self


class ConfusionCell(NamedTuple):
    """A cell of the confusion matrix."""

    count: int
    share: float | None
    """Share of its row; None if the row is empty."""
    is_correct: bool


class Baseline(NamedTuple):
    """Accuracy of the constant prediction of the most frequent class."""

    name: str
    accuracy: float


def make_report_part(run: Record) -> ReportPart:
    """Returns the part of a report on a classifier."""
    test, details = run.result.test, run.details(ClassificationDetails)
    names, rows = _class_names(run, details), test.rows or sum(map(sum, details.confusion)) or None
    is_multi_label = test.micro_f1 is not None
    baseline = _baseline(details, names, is_multi_label)
    overall = wilson(test.accuracy, rows)
    by_length = [
        (scores, wilson(scores.accuracy, scores.rows)) for scores in details.accuracy_by_length
    ]
    return ReportPart.from_template(
        __name__,
        test=test,
        rows=rows,
        loss_unit="nats per label" if is_multi_label else "nats per text",
        score=format_percent(overall.value, 2) if overall else "",
        references={"accuracy": Reference("constant prediction", baseline.accuracy)}
        if baseline
        else {},
        overall=overall,
        baseline=baseline,
        is_multi_label=is_multi_label,
        names=names,
        confusion=_confusion(details.confusion),
        confusions=_confusions(details, names),
        per_class=details.per_class,
        classes=_classes(details),
        by_length=by_length,
        scale=_scale([interval for _, interval in by_length if interval]),
        mistakes=details.worst_mistakes[:_MAX_MISTAKES],
    )


def _class_names(run: Record, details: ClassificationDetails) -> list[str]:
    """Returns the names of the classes, or their indices."""
    size = len(details.confusion)
    names = [scores.name for scores in details.per_class] or run.data.classes
    return names if len(names) == size else [str(number) for number in range(size)]


def _baseline(
    details: ClassificationDetails, names: list[str], is_multi_label: bool
) -> Baseline | None:
    if is_multi_label:
        return None
    counts = [sum(row) for row in details.confusion] or [
        scores.rows for scores in details.per_class
    ]
    names = names or [scores.name for scores in details.per_class]
    if not sum(counts):
        return None
    largest = max(counts)
    return Baseline(names[counts.index(largest)], largest / sum(counts))


def _confusion(counts: list[list[int]]) -> list[list[ConfusionCell]]:
    return [
        [
            ConfusionCell(count, count / sum(row) if sum(row) else None, label == predicted)
            for predicted, count in enumerate(row)
        ]
        for label, row in enumerate(counts)
    ]


def _classes(details: ClassificationDetails) -> list[ClassScores]:
    """Returns the scores of the classes; of very many, those with the most rows."""
    scores = details.per_class
    if len(scores) <= _MAX_CLASSES:
        return scores
    return sorted(scores, key=lambda row: -row.rows)[:_MAX_CLASSES]


def _confusions(details: ClassificationDetails, names: list[str]) -> list[ConfusedPair]:
    """Returns the most frequent confusions; none of two classes, where the matrix suffices."""
    if details.most_confused_pairs:
        return details.most_confused_pairs
    if len(names) < 3:
        return []
    confusions = [
        ConfusedPair(label=label, predicted=predicted, rows=cell.count, share=cell.share)
        for label, row in zip(names, _confusion(details.confusion), strict=True)
        for predicted, cell in zip(names, row, strict=True)
        if cell.count and cell.share and not cell.is_correct
    ]
    return sorted(confusions, key=lambda confusion: -confusion.rows)[:_MAX_CONFUSIONS]


def _scale(intervals: list[ScoreInterval]) -> tuple[float, float]:
    low = min((interval.low for interval in intervals), default=0.0)
    high = max((interval.high for interval in intervals), default=1.0)
    return math.floor(10 * low) / 10, math.ceil(10 * high) / 10
