"""Plots as SVG, in the colours and the font of the page around them, or with their own."""

import io
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup, escape

# Matplotlib knows no CSS. It draws in these colours, which are then replaced by CSS variables, so
# that one plot suits light and dark screens and paper.
_VARIABLES = {
    "#000001": "--ink",
    "#000002": "--quiet",
    "#000003": "--line",
    "#000004": "--train",
    "#000005": "--validation",
    "#000006": "--test",
    "#000007": "--paper",
    **{f"#00001{number}": f"--outcome-{number}" for number in range(8)},
}
INK, QUIET, LINE, TRAIN, VALIDATION, TEST, PAPER, *OUTCOMES = _VARIABLES

_MANY_POINTS = 40
_MOST_POINTS = 1_000
_MOST_STRIPS = 150


def style(name: str) -> dict[Any, Any]:
    """Returns the rcParams of a plot; its name seeds the identifiers inside the SVG."""
    return {
        "svg.fonttype": "none",  # text stays text
        "svg.hashsalt": name,
        "font.size": 9.5,
        "text.color": QUIET,
        "axes.edgecolor": LINE,
        "xtick.color": LINE,
        "ytick.color": LINE,
        "xtick.labelcolor": QUIET,
        "ytick.labelcolor": QUIET,
        "lines.solid_capstyle": "round",
    }


def render_svg(figure: Any) -> str:
    """Renders a matplotlib figure as reproducible SVG."""
    file = io.StringIO()
    metadata = {"Date": None, "Creator": None, "Format": None, "Type": None}
    figure.savefig(file, format="svg", transparent=True, metadata=metadata)
    return file.getvalue()


def standalone_svg(svg: str) -> str:
    """Returns a plot as an SVG file that brings the colours and the font of the report."""
    css = resources.files("rnnjax.reporting").joinpath("report.css").read_text("utf-8")
    colours = css[: css.index("* {")]
    font = "svg { background: var(--paper) } text { font-family: var(--sans) !important }"
    svg = svg.replace("<defs>", f"<style>\n{colours}{font}\n</style>\n<defs>", 1)
    return _substitute_colours(svg)


class Series(NamedTuple):
    """Finite points of a curve, in the order of their steps."""

    steps: np.ndarray
    values: np.ndarray


def series(lines: Sequence[dict[str, Any]], split: str, key: str) -> Series:
    """Returns a metric of a split over the steps, without values that are not finite."""
    points = {
        line["step"]: line[key]
        for line in lines
        if line.get("split") == split
        and all(isinstance(line.get(name), int | float) for name in ("step", key))
        and np.isfinite(line[key])
    }
    steps = sorted(points)
    return Series(np.array(steps, float), np.array([points[step] for step in steps], float))


def curves(
    name: str,
    train: Series,
    validation: Series,
    test: Series,
    baseline: float | None = None,
    percent: bool = False,
    prefix: str = "",
) -> Markup:
    """Plots a metric over the steps of a run.

    Args:
      name: of the metric, and prefix of the identifiers inside the SVG.
      train: drawn faint under a moving average if it has many points.
      validation: drawn as a line with markers.
      test: drawn as markers.
      baseline: score of a constant prediction.
      percent: whether the values are shares.
      prefix: further prefix of the identifiers.
    """
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    with matplotlib.rc_context(style(name)):
        figure = Figure(figsize=(5.4, 3.1), layout="constrained")
        axes = _add_step_axes(figure, percent)
        axes.yaxis.set_major_locator(MaxNLocator(6))

        if baseline is not None:
            axes.axhline(baseline, color=QUIET, linewidth=1.0, linestyle=(0, (2, 3)))
        if len(train.steps) > _MANY_POINTS:
            thin = slice(None, None, 1 + len(train.steps) // _MOST_POINTS)
            axes.plot(train.steps[thin], train.values[thin], color=TRAIN, linewidth=0.9, alpha=0.45)
            axes.plot(
                train.steps[thin], moving_average(train.values)[thin], color=TRAIN, linewidth=2.0
            )
        else:
            axes.plot(*train, color=TRAIN, linewidth=2.0, marker="o", markersize=4.0, clip_on=False)
        # Half of the mark at the last step lies outside the axes.
        marks: dict[str, Any] = {
            "markeredgecolor": PAPER,
            "markeredgewidth": 1.2,
            "clip_on": False,
        }
        axes.plot(*validation, color=VALIDATION, linewidth=2.0, marker="o", markersize=6.0, **marks)
        axes.plot(*test, color=TEST, linestyle="", marker="D", markersize=7.5, **marks)
        axes.margins(x=0.0, y=0.08)
        axes.set_xlim(left=0)
        drawing = render_svg(figure)
        parts = {"training": train, "validation": validation, "test": test}
        hover = _hover_strips(axes, parts, percent)
    label = f"{name} over the steps of the run: {_describe_ends(parts, percent)}"
    return inline_svg(drawing.replace("</svg>", f"{hover}</svg>"), prefix + name, label)


def _add_step_axes(figure: Any, percent: bool) -> Any:
    """Adds axes over the steps of a run to a figure; percent is whether the values are shares."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

    axes = figure.add_subplot()
    axes.spines[["top", "left", "right"]].set_visible(False)
    axes.grid(axis="y", color=LINE, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(left=False, length=3)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:,.0f}"))
    if percent:
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
    axes.set_xlabel("step", color=QUIET, loc="right")
    return axes


def overlay(name: str, runs: Mapping[str, Sequence[Series]], percent: bool = False) -> Markup:
    """Plots a metric of several runs, in the colours 'outcome-0' and up of the page.

    Args:
      name: of the metric.
      runs: training and validation of each run, by its name.
      percent: whether the values are shares.
    """
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(style(name)):
        figure = Figure(figsize=(5.4, 3.6), layout="constrained")
        axes = _add_step_axes(figure, percent)
        parts: dict[str, Series] = {}
        for index, (run, (train, validation)) in enumerate(runs.items()):
            thin = slice(None, None, 1 + len(train.steps) // _MOST_POINTS)
            mark = "o" if len(train.steps) == 1 else ""  # of one point there is no line
            smooth = moving_average(train.values) if len(train.steps) else train.values
            dashed, solid = (
                axes.plot(steps, values, linewidth=1.6, **options)[0]
                for steps, values, options in (
                    (
                        train.steps[thin],
                        smooth[thin],
                        {"linestyle": "--", "marker": mark, "alpha": 0.8},
                    ),
                    (*validation, {"marker": "o", "markersize": 4.0, "clip_on": False}),
                )
            )
            for line in (dashed, solid):
                line.set(color=OUTCOMES[index % len(OUTCOMES)])
            parts |= {f"{run}, training": train, f"{run}, validation": validation}
        axes.margins(x=0.0, y=0.08)
        axes.set_xlim(left=0)
        drawing = render_svg(figure)
        hover = _hover_strips(axes, parts, percent)
    label = f"{name} of {len(runs)} runs over their steps: {_describe_ends(parts, percent)}"
    return inline_svg(drawing.replace("</svg>", f"{hover}</svg>"), name, label)


def _hover_strips(axes: Any, parts: Mapping[str, Series], percent: bool) -> str:
    """Returns invisible strips over a plot, one for each step with values, which hovering shows."""
    steps = np.unique(np.concatenate([part.steps for part in parts.values()]))
    if not len(steps):
        return ""
    if len(steps) > _MOST_STRIPS:
        steps = steps[np.unique(np.linspace(0, len(steps) - 1, _MOST_STRIPS).round().astype(int))]
    dpi = axes.figure.dpi / 72  # an SVG of matplotlib counts in points
    box = axes.get_window_extent()
    places = axes.transData.transform(np.stack([steps, np.zeros_like(steps)], axis=1))[:, 0]
    edges = np.concatenate([[box.x0], (places[1:] + places[:-1]) / 2, [box.x1]]) / dpi
    top = (axes.figure.bbox.height - box.y1) / dpi
    strips = []
    for step, left, right in zip(steps, edges[:-1], edges[1:], strict=True):
        values = [
            f"{name} {_format(float(part.values[part.steps == step][0]), percent)}"
            for name, part in parts.items()
            if step in part.steps
        ]
        strips.append(
            f'<rect class="hover" x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" '
            f'height="{box.height / dpi:.1f}"><title>step {step:,.0f}: '
            f"{escape(', '.join(values))}</title></rect>"
        )
    return "".join(strips)


def _describe_ends(parts: Mapping[str, Series], percent: bool) -> str:
    """Describes curves by their first and last values, for readers who do not see them."""
    texts = []
    for name, part in parts.items():
        if len(part.values):
            ends = dict.fromkeys(_format(float(part.values[at]), percent) for at in (0, -1))
            texts.append(f"{name} {' to '.join(ends)}")
    return "; ".join(texts)


def _format(value: float, percent: bool) -> str:
    return f"{value:.1%}" if percent else f"{value:.3g}"


def moving_average(values: np.ndarray) -> np.ndarray:
    """Returns the centred mean over a fifteenth of the values, over fewer at the ends."""
    window = np.ones(min(max(5, len(values) // 15), len(values)))
    return np.convolve(values, window, "same") / np.convolve(np.ones_like(values), window, "same")


def inline_svg(svg: str, name: str, label: str) -> Markup:
    """Returns a plot as part of a page.

    Args:
      svg: as `render_svg` returns it.
      name: prefix of its identifiers, unique on the page.
      label: description of the plot.
    """
    svg = svg[svg.index("<svg") :]
    # Inside a page the namespaces are implied, a style sheet reaches the whole page, and all plots
    # share one space of identifiers.
    svg = re.sub(r"<defs>\s*<style.*?</defs>", "", svg, count=1, flags=re.DOTALL)
    svg = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", svg).replace("xlink:href", "href")
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = svg.replace('href="#', f'href="#{name}-').replace("url(#", f"url(#{name}-")
    svg = re.sub(r'^<svg width="[^"]*" height="[^"]*"', "<svg", svg)
    svg = svg.replace("<svg", f'<svg role="img" aria-label="{escape(label)}"', 1)
    return Markup(_substitute_colours(svg))


def _substitute_colours(svg: str) -> str:
    return re.sub("#0000(?:0[1-7]|1[0-7])", lambda match: f"var({_VARIABLES[match[0]]})", svg)
