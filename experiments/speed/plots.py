"""Plots of the results: small SVG files beside README.md."""

import statistics
from pathlib import Path
from typing import Any

from cases import CONTENDERS, FORWARD_BACKWARD, GROWTH, cases
from runs import Result, ratio

_STYLE = {"svg.hashsalt": "speed", "font.size": 8.0, "svg.fonttype": "none"}


def draw(group: str, results: dict[tuple[str, str], Result], path: Path) -> Path | None:
    """Draws a group if it has a plot and results; returns the path."""
    if not describe(group, results):
        return None
    plot = _PLOTS[group]
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        figure = plot(Figure, results)
        metadata = {"Date": None, "Creator": None, "Description": describe(group, results)}
        figure.savefig(path, format="svg", metadata=metadata)
    return path


def describe(group: str, results: dict[tuple[str, str], Result]) -> str:
    """Returns the values of the plot of a group as text, '' without a plot."""
    if group not in _PLOTS or not any(result.rounds for result in results.values()):
        return ""
    points = [
        f"{case} {name} {statistics.median(result.seconds[FORWARD_BACKWARD]):.4g} s"
        + (f" {result.facts['temp_bytes']} bytes" if "temp_bytes" in result.facts else "")
        for (case, name), result in results.items()
        if result.rounds
    ]
    return f"Medians of {FORWARD_BACKWARD}: {'; '.join(points)}"


def _layers(make: Any, results: dict[tuple[str, str], Result]) -> Any:
    """Plots the ratios to rnnjax of forward and backward, a line for each case."""
    reference, *contenders = (contender.name for contender in CONTENDERS["layers"])
    names = [case.name for case in cases("layers") if (case.name, reference) in results]
    names = [name for name in names if results[name, reference].rounds and "full" not in name]
    figure = make(figsize=(7.2, 1.0 + 0.2 * len(names)), layout="constrained")
    axes = figure.add_subplot()
    for contender, marker in zip(contenders, "os^v<>DPX*", strict=False):
        points = []
        for index, name in enumerate(names):
            result = results.get((name, contender))
            if result and result.rounds:
                base = results[name, reference].seconds[FORWARD_BACKWARD]
                points.append((ratio(result.seconds[FORWARD_BACKWARD], base).median, index))
        if points:
            axes.plot(*zip(*points, strict=True), linestyle="", marker=marker, label=contender)
    axes.axvline(1.0, color="black", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_xlabel(f"seconds of {FORWARD_BACKWARD}, divided by those of {reference}")
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.grid(axis="x", which="both", linewidth=0.3)
    if axes.lines[:-1]:
        figure.legend(loc="outside lower center", ncols=4)
    return figure


def _growth(make: Any, results: dict[tuple[str, str], Result]) -> Any:
    """Plots time above and memory below, against each axis."""
    figure = make(figsize=(7.6, 4.2), layout="constrained")
    panels = figure.subplots(2, len(GROWTH))
    for column, (axis, values) in enumerate(GROWTH.items()):
        for contender in CONTENDERS["growth"]:
            points = [
                (value, result)
                for value in values
                if (result := results.get((f"{axis}={value}", contender.name))) and result.rounds
            ]
            sizes = [value for value, _ in points]
            seconds = [
                1e3 * statistics.median(result.seconds[FORWARD_BACKWARD]) for _, result in points
            ]
            memory = [result.facts.get("temp_bytes", float("nan")) / 2**20 for _, result in points]
            for panel, heights in zip(panels[:, column], (seconds, memory), strict=True):
                panel.loglog(sizes, heights, marker="o", markersize=3, label=contender.name)
                panel.set_xticks(values, map(str, values), rotation=45)
                panel.minorticks_off()
                panel.grid(linewidth=0.3)
        panels[1, column].set_xlabel(axis)
    panels[0, 0].set_ylabel("milliseconds")
    panels[1, 0].set_ylabel("MiB")
    panels[0, 0].legend()
    return figure


_PLOTS = {"layers": _layers, "growth": _growth}
