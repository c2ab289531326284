"""The part of a report on a tagger: scores of labels and spans, and texts with their mistakes."""

from typing import NamedTuple

import pydantic

from rnnjax.reporting.run_files import Record
from rnnjax.reporting.run_report import Reference, ReportPart
from rnnjax.reporting.run_schema import RecordModel
from rnnjax.tasks.class_scores import ClassScores

_MAX_LABELS = 60


class LabelledText(RecordModel):
    """Tokens with the labels of the data and the predicted ones."""

    tokens: list[str]
    labels: list[str]
    predicted: list[str]


class TaggingDetails(RecordModel):
    """The entries that the task adds to a result."""

    labels: list[ClassScores] = pydantic.Field(default=[])
    spans: list[ClassScores] = pydantic.Field(default=[])
    separator: str = " "
    texts: list[LabelledText] = pydantic.Field(default=[])


class Run(NamedTuple):
    """Consecutive tokens of one label and one predicted label."""

    text: str
    label: str
    predicted: str


def make_report_part(run: Record) -> ReportPart:
    """Returns the part of a report on a tagger."""
    details = run.details(TaggingDetails)
    labels = sorted(details.labels, key=lambda scores: -scores.rows)[:_MAX_LABELS]
    total = sum(scores.rows for scores in details.labels)
    baseline = (labels[0].name, labels[0].rows / total) if total else None
    return ReportPart.from_template(
        __name__,
        test=run.result.test.values(),
        baseline=baseline,
        references={"accuracy": Reference("constant prediction", baseline[1])} if baseline else {},
        loss_unit="nats per token",
        labels=labels,
        hidden=len(details.labels) - len(labels),
        spans=details.spans,
        texts=[_find_runs(text, details.separator) for text in details.texts],
    )


def _find_runs(text: LabelledText, separator: str) -> list[Run]:
    """Returns the runs of a text; tokens of a run are joined."""
    runs: list[Run] = []
    for token, label, predicted in zip(text.tokens, text.labels, text.predicted, strict=True):
        if runs and runs[-1][1:] == (label, predicted):
            runs[-1] = runs[-1]._replace(text=f"{runs[-1].text}{separator}{token}")
        else:
            runs.append(Run(token, label, predicted))
    return [run._replace(text=run.text + separator) for run in runs]
