"""Report of a run: one self-contained HTML page."""

import math
import secrets
import shlex
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, Self

from markupsafe import Markup

from rnnjax.reporting import plots, run_files, run_schema
from rnnjax.reporting.templates import fill, load_macros

REPORT = "report.html"
_MAX_NAMES = 100
_NORMAL_QUANTILE = statistics.NormalDist().inv_cdf(0.975)  # of a two-sided 95 % interval

_FILES = {
    "config.json": "complete config",
    "environment.json": "commit, versions, devices and data",
    "tokenizer.json": "the vocabulary",
    "metrics.jsonl": "metrics over the training, one JSON object a line",
    "result.json": "results on this page",
    "timing.json": "training seconds at each checkpoint",
    "checkpoints": "parameters and optimizer state",
    "report.html": "this page",
}


class Reference(NamedTuple):
    """A score to compare a curve with, a dashed line."""

    label: str
    score: float


class ReportPart(NamedTuple):
    """The part of a report that the task of a run contributes.

    Attributes:
      headline: the most important scores in a sentence.
      sections: below the curves.
      score: in the title of the page; '' for none.
      references: by metric, 'loss' or 'accuracy'.
      loss_unit: of the loss, 'nats per token'; '' where it depends on the data.
    """

    headline: Markup
    sections: Markup = Markup("")
    score: str = ""
    references: Mapping[str, Reference] = MappingProxyType({})
    loss_unit: str = ""

    @classmethod
    def of_scores(cls, run: run_files.Record, metrics: Sequence[str], unit: str) -> Self:
        """Returns the test scores of a run, the first one as its headline.

        Args:
          run: finished.
          metrics: names of the scores.
          unit: of the scored rows: 'texts'.
        """
        scores = run.result.test.values()
        values = {name: scores[name] for name in metrics if name in scores}
        macros = load_macros(
            "rnnjax.reporting", "headline.html.j2", scores=values, unit=unit, rows=scores["rows"]
        )
        return cls(macros.headline())

    @classmethod
    def of_unfinished(cls, run: run_files.Record) -> Self:
        """Returns the part of a run that was interrupted: its last step in the metrics."""
        steps = [line["step"] for line in run.metrics if isinstance(line.get("step"), int)]
        macros = load_macros("rnnjax.reporting", "headline.html.j2", step=max(steps, default=0))
        return cls(macros.unfinished())

    @classmethod
    def from_template(cls, module: str, **values: Any) -> Self:
        """Returns the macros `headline` and `sections` of the `report.html.j2` beside a module.

        Args:
          module: its name.
          **values: variables of the template, and `score`, `references`, `loss_unit` of the part.
        """
        macros = load_macros(module.rpartition(".")[0], "report.html.j2", **values)
        headline, sections = Markup(macros.headline()), Markup(macros.sections())
        score, references = values.get("score", ""), values.get("references", {})
        return cls(headline, sections, score, references, values.get("loss_unit", ""))


class ScoreInterval(NamedTuple):
    """A share with its 95 % interval."""

    low: float
    value: float
    high: float


def render(
    run: run_files.Record, workdir: Path, part: ReportPart, commands: Sequence[tuple[str, str]]
) -> str:
    """Renders the page.

    Args:
      run: finished.
      workdir: its folder, as the commands on the page name it.
      part: of the task.
      commands: purpose and command line of each command for the trained network.
    """
    return fill(
        "report.html.j2",
        run=run,
        result=run.result,
        test=run.result.test,
        part=part,
        curves=_curves(run, part.references),
        splits={line.get("split") for line in run.metrics},
        num_non_finite=_count_non_finite(run),
        parameters=_parameters(run.result),
        config=list(_flat(run.config.config)),
        environment=list(_flat(run.environment.values())),
        commands=[*commands, ("Resume it after an interruption", _train_command(run, workdir))],
        files=[
            (name, description)
            for name, description in _FILES.items()
            if name == REPORT or (workdir / name).exists()
        ],
        workdir=str(workdir),
    )


def render_card(run: run_files.Record, part: ReportPart) -> str:
    """Renders headline and curves as a piece of HTML, whose style sheet reaches nothing else."""
    return fill(
        "card.html.j2",
        run=run,
        part=part,
        curves=_curves(run, part.references, prefix=f"run-{secrets.token_hex(4)}-"),
        splits={line.get("split") for line in run.metrics},
    )


def wilson(share: float | None, rows: int | None) -> ScoreInterval | None:
    """Returns Wilson's 95 % interval of a share of `rows` independent rows; None without rows."""
    if share is None or not rows:
        return None
    # As scipy.stats has it, whose import would take most of a second of every training.
    count, square = round(share * rows), _NORMAL_QUANTILE**2
    proportion = count / rows
    scale = 2 * (rows + square)
    middle = (2 * rows * proportion + square) / scale
    spread = _NORMAL_QUANTILE * math.sqrt(4 * rows * proportion * (1 - proportion) + square) / scale
    low = middle - spread if count else 0.0
    return ScoreInterval(low, share, middle + spread if count < rows else 1.0)


def _curves(
    run: run_files.Record, references: Mapping[str, Reference], prefix: str = ""
) -> list[tuple[str, Markup]]:
    """Plots the logged metrics; the prefix makes identifiers unique where pages are joined."""
    figures = []
    for name in ("loss", "accuracy"):
        train, validation, test = (
            plots.series(run.metrics, split, name) for split in ("train", "validation", "test")
        )
        if len(train.steps) or len(validation.steps):
            level = references[name].score if name in references else None
            figure = plots.curves(
                name, train, validation, test, level, name == "accuracy", prefix=prefix
            )
            figures.append((name, figure))
    return figures


def _count_non_finite(run: run_files.Record) -> int:
    return sum(
        isinstance(line.get("loss"), float) and not math.isfinite(line["loss"])
        for line in run.metrics
    )


def _parameters(result: run_schema.RunResult) -> int | None:
    if result.parameters is None and result.model:
        return sum(layer.parameters for layer in result.model)
    return result.parameters


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        elif isinstance(value, list):
            text = ", ".join(map(str, value[:_MAX_NAMES]))
            more = len(value) - _MAX_NAMES
            yield prefix + key, f"{text} and {more:,} more" if more > 0 else text
        else:
            yield prefix + key, str(value)


def _train_command(run: run_files.Record, workdir: Path) -> str:
    command = run.environment.last_command or "python -m rnnjax.main --config CONFIG.py"
    folder = shlex.quote(str(workdir))
    return command if "--workdir" in command else f"{command} --workdir {folder}"
