"""The part of a report on a language model: perplexity, baselines, and a generated text."""

import math

import pydantic

from rnnjax.reporting.run_files import Record
from rnnjax.reporting.run_report import Reference, ReportPart
from rnnjax.reporting.run_schema import Number, RecordModel

BASELINES = ("unigram", "kneser_ney_bigram")
"""Names of the counted models, of which a result has the perplexity by split."""


class Sample(RecordModel):
    """A generated text."""

    text: str
    temperature: Number


class LanguageModelDetails(RecordModel):
    """The entry that the task adds to a result."""

    sample: Sample | None = None
    baselines: dict[str, dict[str, Number]] = pydantic.Field(default_factory=dict)
    """Perplexity of counted models by name and split."""


def make_report_part(run: Record) -> ReportPart:
    """Returns the part of a report on a language model."""
    test, details = run.result.test, run.details(LanguageModelDetails)
    unigram, bigram = (details.baselines.get(name, {}).get("test") for name in BASELINES)
    references = {}
    if unigram:
        references["loss"] = Reference("unigrams on the test split", math.log(unigram))
    return ReportPart.from_template(
        __name__,
        test=test,
        rows=test.rows,
        loss_unit="nats per token",
        sample=details.sample,
        unigram=unigram,
        bigram=bigram,
        references=references,
    )
