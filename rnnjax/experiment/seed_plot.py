"""Dot plot of an experiment: the score of each seed, the mean, its interval and the claim."""

import io
import statistics
from typing import Any

from rnnjax.experiment.plan import Experiment
from rnnjax.reporting.statistics import mean_interval

_DOTS, _MEAN, _CLAIM = "#4477aa", "#222222", "#eeddaa"


def draw(experiment: Experiment) -> str:
    """Draws the first score of the seeds as SVG, a row for each entry with runs.

    A band is the claimed range of the mean, a tick the mean, a line its interval.
    """
    import matplotlib
    from matplotlib.figure import Figure

    score = experiment.plan.scores[0]
    metric = f"test.{score}"
    entries = [entry for entry in experiment.plan.entry if experiment.runs_of(entry)]
    style: dict[Any, Any] = {
        "svg.hashsalt": experiment.name,
        "svg.fonttype": "none",
        "font.size": 9.0,
    }
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(7.2, 0.8 + 0.35 * len(entries)), layout="constrained")
        axes = figure.add_subplot()
        extent = []
        for row, entry in enumerate(entries):
            values = [run["test"][score] for run in experiment.runs_of(entry)]
            extent += values
            if metric in entry.claims:
                low, high = entry.claims[metric]
                extent += [low, high]
                axes.barh(row, high - low, left=low, height=0.7, color=_CLAIM)
            axes.plot(values, [row] * len(values), "o", color=_DOTS, alpha=0.7, markersize=5)
            axes.plot(statistics.mean(values), row, "|", color=_MEAN, markersize=14)
            if len(values) > 1:
                axes.plot(mean_interval(values, score), [row, row], color=_MEAN, linewidth=1.0)
        # Not the intervals: those of few scattered seeds are too wide.
        margin = 0.05 * (max(extent) - min(extent) or 0.1)
        axes.set_xlim(min(extent) - margin, max(extent) + margin)
        axes.set_ylim(len(entries) - 0.5, -0.5)
        axes.set_yticks(range(len(entries)), [entry.name for entry in entries])
        axes.set_xlabel(f"test {score}: seeds, mean and its interval; the band is the claim")
        axes.grid(axis="x", linewidth=0.3)
        axes.set_axisbelow(True)
        file = io.StringIO()
        metadata = {"Date": None, "Creator": None, "Description": describe(experiment)}
        figure.savefig(file, format="svg", metadata=metadata)
    return file.getvalue()


def describe(experiment: Experiment) -> str:
    """Describes the plot in words, for its metadata."""
    score, rows = experiment.plan.scores[0], []
    metric = f"test.{score}"
    for entry in experiment.plan.entry:
        values = " ".join(f"{run['test'][score]:.4f}" for run in experiment.runs_of(entry))
        low, high = entry.claims.get(metric, ("", ""))
        claim = f", claimed {low} to {high}" if metric in entry.claims else ""
        if values:
            rows.append(f"{entry.name} {values}{claim}")
    return f"Test {score} by seed: {'; '.join(rows)}"
