"""Plots of the dynamics of a recurrent layer, for a page."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from rnnjax.reporting import plots
from rnnjax.reporting.plots import INK, LINE, OUTCOMES, PAPER, QUIET, TEST, TRAIN, VALIDATION

_FLOOR = 1e-20
"""Least value on a logarithmic axis."""
_GATE_COLOURS = (TRAIN, VALIDATION, TEST, QUIET)
_MARKERS = "osD^vP*X"
"""Of the inputs, in their order."""


class _Plot:
    """A figure under way: its axes, and the SVG once it is finished."""

    axes: Any
    svg = Markup("")


@contextlib.contextmanager
def _figure(name: str, label: str, *, height: float = 3.1) -> Iterator[_Plot]:
    import matplotlib
    from matplotlib.figure import Figure

    plot = _Plot()
    with matplotlib.rc_context(plots.style(name)):
        figure = Figure(figsize=(5.4, height), layout="constrained")
        plot.axes = figure.add_subplot()
        plot.axes.spines[["top", "left", "right"]].set_visible(False)
        plot.axes.grid(axis="y", color=LINE, linewidth=0.7)
        plot.axes.set_axisbelow(True)
        plot.axes.tick_params(left=False, length=3)
        yield plot
        plot.svg = plots.inline_svg(plots.render_svg(figure), name, label)


def gradient_reach(name: str, trained: Mapping[str, Any], initial: Mapping[str, Any]) -> Markup:
    """Plots the norm of the derivative over the lags, of the trained and of the initial network."""
    with _figure(name, "norm of the derivative by an earlier state over the lag") as plot:
        axes = plot.axes
        axes.axhline(0.5, color=QUIET, linewidth=1.0, linestyle=(0, (2, 3)))
        band = [_clipped(trained[key]) for key in ("lower", "upper")]
        axes.fill_between(trained["lags"], *band, color=TRAIN, alpha=0.15, linewidth=0)
        axes.plot(
            initial["lags"],
            _clipped(initial["median"]),
            color=VALIDATION,
            linewidth=1.8,
            linestyle=(0, (4, 2)),
        )
        axes.plot(trained["lags"], _clipped(trained["median"]), color=TRAIN, linewidth=2.2)
        _logarithmic(axes, [*band, _clipped(initial["median"])])
        axes.set_xlabel("lag, in steps", color=QUIET, loc="right")
        axes.margins(x=0)
    return plot.svg


def lyapunov(name: str, spectrum: Mapping[str, Any]) -> Markup:
    """Plots the exponents with two standard errors."""
    exponents = np.asarray(spectrum["exponents"], float)
    errors = np.nan_to_num(np.asarray(spectrum["standard_errors"], float))
    is_finite = np.isfinite(exponents)
    numbers = np.arange(1, len(exponents) + 1)[is_finite]
    with _figure(name, "Lyapunov exponents, largest first") as plot:
        axes = plot.axes
        axes.axhline(0, color=QUIET, linewidth=1.0)
        axes.errorbar(
            numbers,
            exponents[is_finite],
            2 * errors[is_finite],
            color=TRAIN,
            linestyle="",
            marker="o",
            markersize=5,
            markeredgecolor=PAPER,
            elinewidth=1.5,
        )
        axes.set_xlabel("exponent", color=QUIET, loc="right")
        axes.set_ylabel("nats a step", color=QUIET)
    return plot.svg


def plane(
    name: str, values: Mapping[str, Any], points: Mapping[str, Any], classes: Sequence[str]
) -> Markup:
    """Plots visited states, final states by class, and fixed points, filled where stable."""
    visited, final = (np.asarray(values[key]).reshape(-1, 2) for key in ("visited", "final"))
    labels = values["labels"] if classes else None
    colours = [TRAIN] * len(final) if labels is None else [OUTCOMES[label] for label in labels]
    with _figure(name, "states and fixed points in two principal components", height=4.4) as plot:
        axes = plot.axes
        axes.grid(visible=False)
        axes.scatter(*visited.T, s=4, color=QUIET, alpha=0.25, linewidths=0)
        axes.scatter(*final.T, s=14, c=colours, alpha=0.65, linewidths=0)
        for number, points_of_input in enumerate(points.values()):
            marker = _MARKERS[number % len(_MARKERS)]
            for point in points_of_input:
                fill = INK if point["stability"] == "stable" else PAPER
                axes.plot(
                    *point["at"],
                    marker=marker,
                    markersize=8,
                    markeredgecolor=INK if fill == PAPER else PAPER,
                    markeredgewidth=1.2,
                    color=fill,
                )
        shares = values["variance"]
        axes.set_xlabel(f"first component, {shares[0]:.0%}", color=QUIET, loc="right")
        axes.set_ylabel(f"second, {shares[1]:.0%}", color=QUIET)
    return plot.svg


def saturation(name: str, gates: Mapping[str, Any]) -> Markup:
    """Plots each unit of each gate by the shares of steps at which it is closed and open."""
    with _figure(name, "share of steps closed and open, unit by unit", height=3.6) as plot:
        axes = plot.axes
        axes.plot((0, 1), (1, 0), color=LINE, linewidth=1.0)
        for number, gate in enumerate(gates.values()):
            axes.plot(
                gate["closed"],
                gate["open"],
                color=_GATE_COLOURS[min(number, len(_GATE_COLOURS) - 1)],
                linestyle="",
                marker="o",
                markersize=5,
                alpha=0.7,
                markeredgewidth=0,
                clip_on=False,
            )
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
        axes.set_xlabel("share of steps closed, below 0.1", color=QUIET, loc="right")
        axes.set_ylabel("open, above 0.9", color=QUIET)
    return plot.svg


def time_constants(name: str, constants: Sequence[float]) -> Markup:
    """Plots the time constants of the units, rising."""
    values = np.sort(np.asarray(constants, float))
    values = values[np.isfinite(values)]
    with _figure(name, "time constants of the units, rising", height=3.6) as plot:
        axes = plot.axes
        axes.plot(
            np.arange(1, len(values) + 1),
            values,
            color=TRAIN,
            linestyle="",
            marker="o",
            markersize=4.5,
            markeredgewidth=0,
        )
        if values[-1] > 10 * values[0] > 0:
            _logarithmic(axes, [values])
        axes.set_xlabel("units, by time constant", color=QUIET, loc="right")
        axes.set_ylabel("steps", color=QUIET)
    return plot.svg


def word_probes(name: str, probes: Mapping[int, Any], unit: str) -> Markup:
    """Plots the accuracy of the probes over the lag, beside their baselines."""
    lags = list(probes)
    with _figure(name, f"accuracy of a probe for the k-th last {unit}, by k") as plot:
        axes = plot.axes
        for key, colour, line in (
            ("baseline", QUIET, (0, (2, 3))),
            ("accuracy", TRAIN, "-"),
        ):
            shares = [probes[lag][key] for lag in lags]
            marker = "o" if key == "accuracy" else ""
            axes.plot(lags, shares, color=colour, linewidth=2.0, linestyle=line, marker=marker)
        _percent(axes)
        axes.set_xlabel(f"{unit}s back", color=QUIET, loc="right")
    return plot.svg


def padding(name: str, values: Mapping[str, Any], key: str) -> Markup:
    """Plots the gain or the accuracy over the steps of padding, and how many there are."""
    steps = values["steps"]
    with _figure(name, f"{key} over the steps of padding") as plot:
        axes = plot.axes
        low, high, median = (
            min(values[f"{place}_padding"], steps[-1]) for place in ("lower", "upper", "median")
        )
        axes.axvspan(low, high, color=VALIDATION, alpha=0.1, linewidth=0)
        axes.axvline(median, color=VALIDATION, linewidth=1.2, linestyle=(0, (4, 2)))
        axes.plot(steps, _clipped(values[key]), color=TRAIN, linewidth=2.2, marker="o")
        if key == "gain":
            _logarithmic(axes, [_clipped(values[key])])
        else:
            _percent(axes, low=None)
        axes.set_xlabel("steps of padding after the text", color=QUIET, loc="right")
    return plot.svg


def _clipped(values: Any) -> np.ndarray:
    return np.clip(np.asarray(values, float), _FLOOR, 1 / _FLOOR)


def _logarithmic(axes: Any, values: Sequence[np.ndarray]) -> None:
    """Sets a logarithmic axis that spans a decade at least."""
    from matplotlib.ticker import LogLocator, NullLocator

    finite = np.concatenate([np.ravel(part) for part in values])
    low, high = finite.min(), finite.max()
    if high < 10 * low:
        low, high = low / 3, high * 3
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(numticks=7))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_ylim(low / 1.3, high * 1.3)


def _percent(axes: Any, low: float | None = 0.0) -> None:
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    axes.yaxis.set_major_locator(MaxNLocator(6))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
    if low is not None:
        axes.set_ylim(low, 1.02)
