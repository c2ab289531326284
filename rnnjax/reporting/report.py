"""The report of a run: one page that needs nothing but itself."""

import math
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from markupsafe import Markup

from rnnjax.reporting import plots, record, run_files
from rnnjax.reporting.files import write_text
from rnnjax.reporting.page import fill

_MOST_MISTAKES = 50
_MOST_CLASSES = 50
_MOST_CONFUSIONS = 6
_MOST_NAMES = 100
_NORMAL_95 = 1.959964

_FILES = {
    "config.json": "what was asked, complete",
    "environment.json": "commit, versions, devices, and what the data was",
    "tokenizer.json": "the vocabulary",
    "metrics.jsonl": "one JSON object a line, as the training went",
    "result.json": "the results that this page shows",
    "timing.json": "how long the training took up to each checkpoint",
    "checkpoints": "parameters and the state of the training",
    "report.html": "this page",
}


class Interval(NamedTuple):
    """A share with its 95 % interval."""

    low: float
    value: float
    high: float


class Cell(NamedTuple):
    """A number in the confusion matrix."""

    count: int
    share: float | None
    """Of its row; None where the row is empty."""
    right: bool


class Baseline(NamedTuple):
    """What always giving the same answer would reach."""

    answer: str
    accuracy: float


def write_report(workdir: Path) -> Path:
    """Writes `report.html` into the folder of a finished run and returns its path.

    Args:
      workdir: the folder, as the commands on the page should name it.

    Raises:
      InputError: a file of the run is missing or damaged.
    """
    workdir = Path(workdir)
    path = workdir / "report.html"
    write_text(path, render(run_files.read(workdir), workdir))
    return path


def render(run: run_files.Record, workdir: Path) -> str:
    """Returns the page."""
    result = run.result
    rows = result.test.rows or sum(map(sum, result.confusion)) or None
    baseline = _baseline(run)
    # Tokens of running text are no independent rows, nor are the symbols of a sequence.
    alike = result.test.perplexity is None and result.test.baseline is None
    overall = wilson(result.test.accuracy, rows) if alike else None
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
        gaps=_gaps(run),
        confusion=_confusion(result.confusion),
        confusions=_confusions(run),
        classes=_classes(result),
        by_length=by_length,
        scale=_scale([interval for _, interval in by_length if interval]),
        mistakes=result.worst_mistakes[:_MOST_MISTAKES],
        parameters=_parameters(result),
        config=list(_flat(run.config.config)),
        environment=list(_flat(run.environment.values())),
        commands=_commands(run, workdir),
        files=[
            (name, what)
            for name, what in _FILES.items()
            if name == "report.html" or (workdir / name).exists()
        ],
        workdir=str(workdir),
    )


def wilson(share: float | None, rows: int | None) -> Interval | None:
    """Returns Wilson's 95 % interval of a share of `rows` independent rows; None without rows."""
    if share is None or not rows:
        return None
    z2 = _NORMAL_95**2 / rows
    centre = (share + z2 / 2) / (1 + z2)
    half = math.sqrt(z2 * share * (1 - share) + z2 * z2 / 4) / (1 + z2)
    return Interval(max(0.0, centre - half), share, min(1.0, centre + half))


def _baseline(run: run_files.Record) -> Baseline | None:
    counts = [sum(row) for row in run.result.confusion] or [
        scores.rows for scores in run.result.per_class
    ]
    names = run.classes or [scores.name for scores in run.result.per_class]
    if not sum(counts):
        return None
    most = max(counts)
    return Baseline(names[counts.index(most)], most / sum(counts))


def _curves(run: run_files.Record, baseline: Baseline | None) -> list[tuple[str, Markup]]:
    """The name and the drawing of each metric that the training has logged."""
    drawings = []
    for name in ("loss", "accuracy"):
        train, validation, test = (
            plots.series(run.metrics, split, name) for split in ("train", "validation", "test")
        )
        if len(train.steps) or len(validation.steps):
            percent = name == "accuracy"
            without = baseline.accuracy if baseline else None
            level = without if percent else run.result.test.baseline
            drawing = plots.curves(name, train, validation, test, level, percent)
            drawings.append((name, drawing))
    return drawings


def _gaps(run: run_files.Record) -> int:
    return sum(
        isinstance(line.get("loss"), float) and not math.isfinite(line["loss"])
        for line in run.metrics
    )


def _confusion(counts: list[list[int]]) -> list[list[Cell]]:
    return [
        [
            Cell(count, count / sum(row) if sum(row) else None, label == predicted)
            for predicted, count in enumerate(row)
        ]
        for label, row in enumerate(counts)
    ]


def _classes(result: record.Result) -> list[record.ClassScores]:
    """The scores of the classes; of very many, those with the most rows."""
    scores = result.per_class
    if len(scores) <= _MOST_CLASSES:
        return scores
    return sorted(scores, key=lambda each: -each.rows)[:_MOST_CLASSES]


def _confusions(run: run_files.Record) -> list[record.ConfusedPair]:
    """The most frequent confusions; of two classes, the matrix says it all."""
    if run.result.most_confused:
        return run.result.most_confused
    names = run.classes
    if len(names) < 3:
        return []
    wrong = [
        record.ConfusedPair(label=label, predicted=predicted, rows=cell.count, share=cell.share)
        for label, row in zip(names, _confusion(run.result.confusion), strict=True)
        for predicted, cell in zip(names, row, strict=True)
        if cell.count and cell.share and not cell.right
    ]
    return sorted(wrong, key=lambda confusion: -confusion.rows)[:_MOST_CONFUSIONS]


def _scale(intervals: list[Interval]) -> tuple[float, float]:
    low = min((interval.low for interval in intervals), default=0.0)
    high = max((interval.high for interval in intervals), default=1.0)
    return math.floor(10 * low) / 10, math.ceil(10 * high) / 10


def _parameters(result: record.Result) -> int | None:
    if result.parameters is None and result.model:
        return sum(layer.parameters for layer in result.model)
    return result.parameters


def _commands(run: run_files.Record, workdir: Path) -> list[tuple[str, str]]:
    folder = shlex.quote(str(workdir))
    train = run.environment.last_command or "python -m rnnjax.main --config CONFIG.py"
    if "--workdir" not in train:
        train += f" --workdir {folder}"
    flags = f"--workdir {folder}{' --trust' if _has_foreign_cell(run) else ''}"
    asked = {
        "language_modeling": [
            ("Let it write", f'python -m rnnjax.generate {flags} --prompt "text"'),
        ],
        "memory": [],
        "translation": [
            ("Let it translate", f'python -m rnnjax.translate {flags} "text"'),
        ],
    }.get(
        run.result.task,
        [
            ("Ask it about a text", f'python -m rnnjax.predict {flags} "text"'),
            ("Score it on another file", f"python -m rnnjax.evaluate {flags} --data FILE.csv"),
        ],
    )
    return [*asked, ("Resume it, if it was interrupted", train)]


def _has_foreign_cell(run: run_files.Record) -> bool:
    """Returns whether the cell is a class of a module outside rnnjax and flax."""
    cell = str(run.config.config.get("model", {}).get("cell", ""))
    module, colon, _ = cell.partition("(")[0].partition(":")
    return bool(colon) and module.strip().split(".")[0] not in ("rnnjax", "flax")


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        elif isinstance(value, list):
            shown = ", ".join(map(str, value[:_MOST_NAMES]))
            more = len(value) - _MOST_NAMES
            yield prefix + key, f"{shown} and {more:,} more" if more > 0 else shown
        else:
            yield prefix + key, str(value)
