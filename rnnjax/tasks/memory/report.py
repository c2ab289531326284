"""The part of a report on a problem of long memory: its loss beside that without memory."""

from rnnjax.reporting.run_files import Record
from rnnjax.reporting.run_report import Reference, ReportPart


def make_report_part(run: Record) -> ReportPart:
    """Returns the part of a report on a problem of long memory."""
    test, references = run.result.test, {}
    if test.baseline is not None:
        references["loss"] = Reference("minimum without memory", test.baseline)
    return ReportPart.from_template(__name__, test=test, rows=test.rows, references=references)
