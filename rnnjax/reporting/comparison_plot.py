"""A drawing of what runs differ in, seed by seed and in the mean."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from rnnjax.reporting import plots
from rnnjax.reporting.plots import INK, LINE, PAPER, QUIET, TRAIN, VALIDATION
from rnnjax.reporting.statistics import Comparison


def draw(metric: str, first: str, others: Sequence[tuple[str, Comparison]]) -> str:
    """Returns an SVG file, with a row for each side that is compared with the first.

    On the left every run is a dot, and a line joins the runs of one seed. On the right stand the
    differences of the pairs, their mean, and its 95 % interval by Student's t.

    Args:
      metric: what the scores are.
      first: name of the side that the others are compared with.
      others: name and difference of each other side.
    """
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    with matplotlib.rc_context(plots.style(metric)):
        figure = Figure(figsize=(8.4, 0.9 + 0.8 * len(others)), layout="constrained")
        scores, differences = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
        for axes, title in ((scores, f"{metric}, run by run"), (differences, f"minus {first}")):
            axes.set_title(title, loc="left", color=INK, fontsize=9.5)
            axes.spines[["top", "left", "right"]].set_visible(False)
            axes.grid(axis="x", color=LINE, linewidth=0.7)
            axes.set_axisbelow(True)
            axes.tick_params(left=False, length=3)
            axes.xaxis.set_major_locator(MaxNLocator(5))
        differences.axvline(0, color=QUIET, linewidth=1.0)
        mark: dict[str, Any] = {"linestyle": "", "marker": "o", "markeredgecolor": PAPER}
        for row, (_, contrast) in enumerate(others):
            above, below = row - 0.17, row + 0.17
            if contrast.paired:
                pairs = np.stack([contrast.first, contrast.other])
                scores.plot(pairs, (above, below), color=LINE, linewidth=1.2)
                each = contrast.other - contrast.first
                differences.plot(each, np.full(len(each), below), color=QUIET, markersize=5, **mark)
            for place, values, color in (
                (above, contrast.first, QUIET),
                (below, contrast.other, TRAIN),
            ):
                scores.plot(values, np.full(len(values), place), color=color, markersize=6, **mark)
            differences.plot(contrast.interval, (above, above), color=VALIDATION, linewidth=2.0)
            differences.plot(contrast.mean, above, color=VALIDATION, markersize=8, **mark)
        scores.set_ylim(len(others) - 0.5, -0.5)
        names = [f"{first}\n{name}" for name, _ in others]
        scores.set_yticks(range(len(others)), names, linespacing=1.9)
        return plots.alone(plots.svg(figure))
