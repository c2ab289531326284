"""What was measured, as drawings: small SVG files beside README.md."""

import statistics
from pathlib import Path
from typing import Any

from cases import BOTH, CONTENDERS, GROWTH, cases
from runs import Result, ratio

_STYLE = {"svg.hashsalt": "speed", "font.size": 8.0, "svg.fonttype": "none"}


def draw(group: str, results: dict[tuple[str, str], Result], path: Path) -> Path | None:
    """Draws a group, if there is something to see; returns where."""
    if not describe(group, results):
        return None
    drawing = _DRAWINGS[group]
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        figure = drawing(Figure, results)
        metadata = {"Date": None, "Creator": None, "Description": describe(group, results)}
        figure.savefig(path, format="svg", metadata=metadata)
    return path


def describe(group: str, results: dict[tuple[str, str], Result]) -> str:
    """Returns in words what the drawing of a group shows, '' if it has none."""
    if group not in _DRAWINGS or not any(each.rounds for each in results.values()):
        return ""
    points = [
        f"{case} {name} {statistics.median(each.seconds[BOTH]):.4g} s"
        + (f" {each.facts['temp_bytes']} bytes" if "temp_bytes" in each.facts else "")
        for (case, name), each in results.items()
        if each.rounds
    ]
    return f"Medians of {BOTH}: {'; '.join(points)}"


def _layers(make: Any, results: dict[tuple[str, str], Result]) -> Any:
    """How many times as long as ours forward and backward take, a line for each case."""
    ours, *others = (each.name for each in CONTENDERS["layers"])
    names = [each.name for each in cases("layers") if (each.name, ours) in results]
    names = [name for name in names if results[name, ours].rounds and "full" not in name]
    figure = make(figsize=(7.2, 1.0 + 0.2 * len(names)), layout="constrained")
    axes = figure.add_subplot()
    for other, marker in zip(others, "os^v<>DPX*", strict=False):
        found = [
            (ratio(results[name, other].seconds[BOTH], results[name, ours].seconds[BOTH])[0], at)
            for at, name in enumerate(names)
            if (name, other) in results and results[name, other].rounds
        ]
        if found:
            axes.plot(*zip(*found, strict=True), linestyle="", marker=marker, label=other)
    axes.axvline(1.0, color="black", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_xlabel(f"seconds of {BOTH}, divided by those of {ours}")
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.grid(axis="x", which="both", linewidth=0.3)
    if axes.lines[:-1]:
        figure.legend(loc="outside lower center", ncols=4)
    return figure


def _growth(make: Any, results: dict[tuple[str, str], Result]) -> Any:
    """Time above, memory below, against each axis."""
    figure = make(figsize=(7.6, 4.2), layout="constrained")
    panels = figure.subplots(2, len(GROWTH))
    for column, (axis, values) in enumerate(GROWTH.items()):
        for contender in CONTENDERS["growth"]:
            found = [
                (value, result)
                for value in values
                if (result := results.get((f"{axis}={value}", contender.name))) and result.rounds
            ]
            sizes = [value for value, _ in found]
            seconds = [1e3 * statistics.median(each.seconds[BOTH]) for _, each in found]
            memory = [each.facts.get("temp_bytes", float("nan")) / 2**20 for _, each in found]
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


_DRAWINGS = {"layers": _layers, "growth": _growth}
