"""The part of a report on series: scores of classes with their confusions, or of values ahead."""

import pydantic

from rnnjax.reporting.run_files import Record
from rnnjax.reporting.run_report import Reference, ReportPart
from rnnjax.reporting.run_schema import Number, RecordModel
from rnnjax.tasks.class_scores import ClassScores

_MAX_ROWS = 60


class StepScores(RecordModel):
    """Errors of one value ahead."""

    step: int
    mae: Number | None = None
    rmse: Number | None = None
    r2: Number | None = None
    naive_mae: Number | None = None


class SeriesDetails(RecordModel):
    """The entries that the task adds to a result."""

    per_class: list[ClassScores] = pydantic.Field(default=[])
    confusion: list[list[int]] = pydantic.Field(default=[])
    by_step: list[StepScores] = pydantic.Field(default=[])


def make_report_part(run: Record) -> ReportPart:
    """Returns the part of a report on series."""
    details = run.details(SeriesDetails)
    classes = sorted(details.per_class, key=lambda scores: -scores.rows)[:_MAX_ROWS]
    total = sum(scores.rows for scores in details.per_class)
    baseline = (classes[0].name, classes[0].rows / total) if total else None
    return ReportPart.from_template(
        __name__,
        test=run.result.test.values(),
        baseline=baseline,
        references={"accuracy": Reference("constant prediction", baseline[1])} if baseline else {},
        classes=classes,
        hidden=len(details.per_class) - len(classes),
        names=[scores.name for scores in details.per_class],
        confusion=details.confusion,
        steps=details.by_step[:_MAX_ROWS],
    )
