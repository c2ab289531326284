"""The part of a report on a translator: its scores, and translations with their attention."""

from typing import Self

import pydantic

from rnnjax.reporting.run_files import Record
from rnnjax.reporting.run_report import ReportPart
from rnnjax.reporting.run_schema import Number, RecordModel


class Example(RecordModel):
    """A translation with its attention weights."""

    source: str
    reference: str
    text: str
    read: list[str]
    written: list[str]
    attention: list[list[Number]]
    """A row for each target token, a column for each source token."""

    @pydantic.model_validator(mode="after")
    def _sizes_agree(self) -> Self:
        rows, columns = len(self.written), len(self.read)
        if [len(row) for row in self.attention] != [columns] * rows:
            raise ValueError(f"attention is not {rows} rows of {columns} columns")
        return self


class TranslationResult(RecordModel):
    """Translations and the settings of their scores."""

    signatures: dict[str, str]
    """Signatures of sacrebleu by score."""
    copied_bleu: Number | None = None
    """BLEU of the sources themselves."""
    examples: list[Example] = pydantic.Field(default=[])


class TranslationDetails(RecordModel):
    """The entry that the task adds to a result."""

    translation: TranslationResult = TranslationResult(signatures={})


def make_report_part(run: Record) -> ReportPart:
    """Returns the part of a report on a translator."""
    test, details = run.result.test, run.details(TranslationDetails).translation
    return ReportPart.from_template(
        __name__, test=test, rows=test.rows, details=details, loss_unit="nats per token"
    )
