"""The part of a report on a language model: its perplexity and a text that it generated."""

from rnnjax.reporting.run_files import Record
from rnnjax.reporting.run_report import ReportPart
from rnnjax.reporting.run_schema import Number, RecordModel


class Sample(RecordModel):
    """A generated text."""

    text: str
    temperature: Number


class LanguageModelDetails(RecordModel):
    """The entry that the task adds to a result."""

    sample: Sample | None = None


def make_report_part(run: Record) -> ReportPart:
    """Returns the part of a report on a language model."""
    test, details = run.result.test, run.details(LanguageModelDetails)
    return ReportPart.from_template(__name__, test=test, rows=test.rows, sample=details.sample)
