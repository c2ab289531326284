"""A drawing of the runs of an experiment: a dot for each seed, their mean and its interval."""

import io
import statistics
from typing import Any

from rnnjax.experiment.plan import Experiment
from rnnjax.reporting.statistics import interval_of_score

_DOTS, _MEAN, _CLAIM = "#4477aa", "#222222", "#eeddaa"


def drawing(experiment: Experiment) -> str:
    """Returns the first score of each seed as SVG, a row for each entry that has runs.

    A band is what is claimed of the mean, a bar the mean, a line its interval.
    """
    import matplotlib
    from matplotlib.figure import Figure

    score = experiment.plan.scores[0]
    claimed = f"test.{score}"
    entries = [entry for entry in experiment.plan.entry if experiment.runs_of(entry)]
    style: dict[Any, Any] = {
        "svg.hashsalt": experiment.name,
        "svg.fonttype": "none",
        "font.size": 9.0,
    }
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(7.2, 0.8 + 0.35 * len(entries)), layout="constrained")
        axes = figure.add_subplot()
        seen = []
        for row, entry in enumerate(entries):
            values = [run["test"][score] for run in experiment.runs_of(entry)]
            seen += values
            if claimed in entry.claims:
                low, high = entry.claims[claimed]
                seen += [low, high]
                axes.barh(row, high - low, left=low, height=0.7, color=_CLAIM)
            axes.plot(values, [row] * len(values), "o", color=_DOTS, alpha=0.7, markersize=5)
            axes.plot(statistics.mean(values), row, "|", color=_MEAN, markersize=14)
            if len(values) > 1:
                axes.plot(interval_of_score(values, score), [row, row], color=_MEAN, linewidth=1.0)
        # The interval of a few scattered seeds would leave the others no room.
        margin = 0.05 * (max(seen) - min(seen) or 0.1)
        axes.set_xlim(min(seen) - margin, max(seen) + margin)
        axes.set_ylim(len(entries) - 0.5, -0.5)
        axes.set_yticks(range(len(entries)), [entry.name for entry in entries])
        axes.set_xlabel(f"test {score}: seeds, mean and its interval; the band is the claim")
        axes.grid(axis="x", linewidth=0.3)
        axes.set_axisbelow(True)
        file = io.StringIO()
        metadata = {"Date": None, "Creator": None, "Description": described(experiment)}
        figure.savefig(file, format="svg", metadata=metadata)
    return file.getvalue()


def described(experiment: Experiment) -> str:
    """Returns in words what the drawing shows, which it holds as its description."""
    score, rows = experiment.plan.scores[0], []
    claimed = f"test.{score}"
    for entry in experiment.plan.entry:
        values = " ".join(f"{run['test'][score]:.4f}" for run in experiment.runs_of(entry))
        low, high = entry.claims.get(claimed, ("", ""))
        claim = f", claimed {low} to {high}" if claimed in entry.claims else ""
        if values:
            rows.append(f"{entry.name} {values}{claim}")
    return f"Test {score} by seed: {'; '.join(rows)}"
