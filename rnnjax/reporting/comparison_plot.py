"""Dot plot of the runs of compared groups, seed by seed and in the mean."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from rnnjax.reporting import plots
from rnnjax.reporting.plots import INK, LINE, PAPER, QUIET, TRAIN, VALIDATION
from rnnjax.reporting.statistics import Comparison


def draw(metric: str, reference: str, comparisons: Sequence[tuple[str, Comparison]]) -> str:
    """Draws groups of runs against a reference group, a row for each, as an SVG file.

    On the left a dot is a run, and a line joins the runs of one seed. On the right stand the
    differences of the pairs, their mean, and its 95 % interval by Student's t.

    Args:
      metric: name of the score.
      reference: name of the reference group.
      comparisons: name and comparison of the candidates.
    """
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    with matplotlib.rc_context(plots.style(metric)):
        figure = Figure(figsize=(8.4, 0.9 + 0.8 * len(comparisons)), layout="constrained")
        scores, differences = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
        for axes, title in ((scores, f"{metric}, run by run"), (differences, f"minus {reference}")):
            axes.set_title(title, loc="left", color=INK, fontsize=9.5)
            axes.spines[["top", "left", "right"]].set_visible(False)
            axes.grid(axis="x", color=LINE, linewidth=0.7)
            axes.set_axisbelow(True)
            axes.tick_params(left=False, length=3)
            axes.xaxis.set_major_locator(MaxNLocator(5))
        differences.axvline(0, color=QUIET, linewidth=1.0)
        mark: dict[str, Any] = {"linestyle": "", "marker": "o", "markeredgecolor": PAPER}
        for row, (_, comparison) in enumerate(comparisons):
            top, bottom = row - 0.17, row + 0.17
            if comparison.paired:
                pairs = np.stack([comparison.reference, comparison.candidate])
                scores.plot(pairs, (top, bottom), color=LINE, linewidth=1.2)
                pair_differences = comparison.candidate - comparison.reference
                differences.plot(
                    pair_differences,
                    np.full(len(pair_differences), bottom),
                    color=QUIET,
                    markersize=5,
                    **mark,
                )
            for height, values, color in (
                (top, comparison.reference, QUIET),
                (bottom, comparison.candidate, TRAIN),
            ):
                scores.plot(values, np.full(len(values), height), color=color, markersize=6, **mark)
            differences.plot(comparison.interval, (top, top), color=VALIDATION, linewidth=2.0)
            differences.plot(comparison.mean, top, color=VALIDATION, markersize=8, **mark)
        scores.set_ylim(len(comparisons) - 0.5, -0.5)
        names = [f"{reference}\n{name}" for name, _ in comparisons]
        scores.set_yticks(range(len(comparisons)), names, linespacing=1.9)
        return plots.standalone_svg(plots.render_svg(figure))
