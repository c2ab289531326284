"""Report of a run: one self-contained HTML page."""

import math
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from markupsafe import Markup

from rnnjax.reporting import plots, run_files, run_schema
from rnnjax.reporting.atomic_files import write_text
from rnnjax.reporting.templates import fill

_MAX_MISTAKES = 50
_MAX_CLASSES = 50
_MAX_CONFUSIONS = 6
_MAX_NAMES = 100

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


class ScoreInterval(NamedTuple):
    """A share with its 95 % interval."""

    low: float
    value: float
    high: float


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


def write_report(workdir: Path) -> Path:
    """Writes `report.html` into the folder of a finished run and returns its path.

    Args:
      workdir: the folder, as the commands on the page name it.

    Raises:
      InputError: a file of the run is missing or damaged.
    """
    workdir = Path(workdir)
    path = workdir / "report.html"
    write_text(path, render(run_files.read(workdir), workdir))
    return path


def render(run: run_files.Record, workdir: Path) -> str:
    """Renders the page."""
    result = run.result
    rows = result.test.rows or sum(map(sum, result.confusion)) or None
    baseline = _baseline(run)
    # Tokens of a text are no independent rows, nor are the symbols of a sequence.
    has_independent_rows = result.test.perplexity is None and result.test.baseline is None
    overall = wilson(result.test.accuracy, rows) if has_independent_rows else None
    by_length = [
        (scores, wilson(scores.accuracy, scores.rows)) for scores in result.accuracy_by_length
    ]
    return fill(
        "report.html.j2",
        run=run,
        result=result,
        test=result.test,
        rows=rows,
        overall=overall,
        baseline=baseline,
        curves=_curves(run, baseline),
        splits={line.get("split") for line in run.metrics},
        num_non_finite=_count_non_finite(run),
        confusion=_confusion(result.confusion),
        confusions=_confusions(run),
        classes=_classes(result),
        by_length=by_length,
        scale=_scale([interval for _, interval in by_length if interval]),
        mistakes=result.worst_mistakes[:_MAX_MISTAKES],
        parameters=_parameters(result),
        config=list(_flat(run.config.config)),
        environment=list(_flat(run.environment.values())),
        commands=_commands(run, workdir),
        files=[
            (name, description)
            for name, description in _FILES.items()
            if name == "report.html" or (workdir / name).exists()
        ],
        workdir=str(workdir),
    )


def wilson(share: float | None, rows: int | None) -> ScoreInterval | None:
    """Returns Wilson's 95 % interval of a share of `rows` independent rows; None without rows."""
    from scipy import stats  # takes most of a second

    if share is None or not rows:
        return None
    interval = stats.binomtest(round(share * rows), rows).proportion_ci(method="wilson")
    return ScoreInterval(interval.low, share, interval.high)


def _baseline(run: run_files.Record) -> Baseline | None:
    counts = [sum(row) for row in run.result.confusion] or [
        scores.rows for scores in run.result.per_class
    ]
    names = run.classes or [scores.name for scores in run.result.per_class]
    if not sum(counts):
        return None
    largest = max(counts)
    return Baseline(names[counts.index(largest)], largest / sum(counts))


def _curves(run: run_files.Record, baseline: Baseline | None) -> list[tuple[str, Markup]]:
    """Plots the logged metrics."""
    figures = []
    for name in ("loss", "accuracy"):
        train, validation, test = (
            plots.series(run.metrics, split, name) for split in ("train", "validation", "test")
        )
        if len(train.steps) or len(validation.steps):
            percent = name == "accuracy"
            constant = baseline.accuracy if baseline else None
            level = constant if percent else run.result.test.baseline
            figure = plots.curves(name, train, validation, test, level, percent)
            figures.append((name, figure))
    return figures


def _count_non_finite(run: run_files.Record) -> int:
    return sum(
        isinstance(line.get("loss"), float) and not math.isfinite(line["loss"])
        for line in run.metrics
    )


def _confusion(counts: list[list[int]]) -> list[list[ConfusionCell]]:
    return [
        [
            ConfusionCell(count, count / sum(row) if sum(row) else None, label == predicted)
            for predicted, count in enumerate(row)
        ]
        for label, row in enumerate(counts)
    ]


def _classes(result: run_schema.RunResult) -> list[run_schema.ClassScores]:
    """Returns the scores of the classes; of very many, those with the most rows."""
    scores = result.per_class
    if len(scores) <= _MAX_CLASSES:
        return scores
    return sorted(scores, key=lambda row: -row.rows)[:_MAX_CLASSES]


def _confusions(run: run_files.Record) -> list[run_schema.ConfusedPair]:
    """Returns the most frequent confusions; none of two classes, where the matrix suffices."""
    if run.result.most_confused_pairs:
        return run.result.most_confused_pairs
    names = run.classes
    if len(names) < 3:
        return []
    confusions = [
        run_schema.ConfusedPair(label=label, predicted=predicted, rows=cell.count, share=cell.share)
        for label, row in zip(names, _confusion(run.result.confusion), strict=True)
        for predicted, cell in zip(names, row, strict=True)
        if cell.count and cell.share and not cell.is_correct
    ]
    return sorted(confusions, key=lambda confusion: -confusion.rows)[:_MAX_CONFUSIONS]


def _scale(intervals: list[ScoreInterval]) -> tuple[float, float]:
    low = min((interval.low for interval in intervals), default=0.0)
    high = max((interval.high for interval in intervals), default=1.0)
    return math.floor(10 * low) / 10, math.ceil(10 * high) / 10


def _parameters(result: run_schema.RunResult) -> int | None:
    if result.parameters is None and result.model:
        return sum(layer.parameters for layer in result.model)
    return result.parameters


def _commands(run: run_files.Record, workdir: Path) -> list[tuple[str, str]]:
    folder = shlex.quote(str(workdir))
    train = run.environment.last_command or "python -m rnnjax.main --config CONFIG.py"
    if "--workdir" not in train:
        train += f" --workdir {folder}"
    flags = f"--workdir {folder}{' --trust' if _has_external_cell(run) else ''}"
    commands = {
        "language_modeling": [
            ("Generate text", f'python -m rnnjax.generate {flags} --prompt "text"'),
        ],
        "memory": [],
        "translation": [
            ("Translate a text", f'python -m rnnjax.translate {flags} "text"'),
        ],
    }.get(
        run.result.task,
        [
            ("Classify a text", f'python -m rnnjax.predict {flags} "text"'),
            ("Evaluate it on another file", f"python -m rnnjax.evaluate {flags} --data FILE.csv"),
        ],
    )
    return [*commands, ("Resume it after an interruption", train)]


def _has_external_cell(run: run_files.Record) -> bool:
    """Returns whether the cell is a class of a module outside rnnjax and flax."""
    cell = str(run.config.config.get("model", {}).get("cell", ""))
    module, colon, _ = cell.partition("(")[0].partition(":")
    return bool(colon) and module.strip().split(".")[0] not in ("rnnjax", "flax")


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
