"""Pictures and tables of the lesson's notebook, each with a text for screen readers."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from PIL import Image

from rnnjax.reporting import markdown

INK, QUIET, LINE = "#14171c", "#5c6470", "#dfe3e8"
COLOURS = ("#2457d6", "#c0540a", "#0c8a63", "#a02c9c")
MARKERS, DASHES = ("o", "s", "^", "D"), ("-", "--", "-.", ":")
_SHADES = 160
"""Colours of a picture, so that the notebook stays small."""


class Picture:
    """A figure as PNG; its text is what it shows, in a sentence."""

    def __init__(self, figure: Figure, alt: str):
        """Takes the figure and its text."""
        self._figure, self._alt = figure, alt

    def __repr__(self) -> str:
        return self._alt

    def _repr_png_(self) -> bytes:
        drawn, small = io.BytesIO(), io.BytesIO()
        self._figure.savefig(drawn, format="png", dpi=110, facecolor="white")
        Image.open(drawn).convert("RGB").quantize(_SHADES).save(small, "PNG", optimize=True)
        return small.getvalue()


class Table:
    """A table in Markdown; numbers are rounded to four digits."""

    def __init__(self, header: Sequence[str], rows: Sequence[Sequence[Any]]):
        """Takes the names of the columns, and the rows."""
        cells = [[f"{v:.4g}" if isinstance(v, float) else str(v) for v in row] for row in rows]
        self._text = markdown.table(header, cells)

    def __repr__(self) -> str:
        return self._text

    def _repr_markdown_(self) -> str:
        return self._text


def _axes(width: float, height: float) -> tuple[Figure, Any]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(LINE)
    axes.tick_params(color=LINE, labelcolor=QUIET, labelsize=9)
    axes.grid(axis="y", color=LINE, linewidth=0.7)
    axes.set_axisbelow(True)
    return figure, axes


def lines(
    curves: Mapping[str, tuple[Any, Any]],
    x_label: str,
    y_label: str,
    alt: str,
    log: str = "",
) -> Picture:
    """Draws a line for each curve, told apart by colour, dashes and marks.

    Args:
      curves: places and values, by name.
      x_label: of the axis.
      y_label: of the axis.
      alt: what the picture shows.
      log: the axis with a logarithmic scale, 'x' or 'y'; '' for none.
    """
    figure, axes = _axes(7.2, 3.0)
    for index, (name, (x, y)) in enumerate(curves.items()):
        axes.plot(
            x, y, DASHES[index % 4], color=COLOURS[index % 4], marker=MARKERS[index % 4],
            markersize=4, markevery=max(1, len(x) // 12), linewidth=1.8, label=name,
        )  # fmt: skip
    if log:
        getattr(axes, f"set_{log}scale")("log")
    axes.set_xlabel(x_label, color=QUIET)
    axes.set_ylabel(y_label, color=QUIET)
    figure.legend(frameon=False, labelcolor=INK, fontsize=9, loc="outside upper left", ncols=4)
    return Picture(figure, alt)


def histogram(lengths: Any, boundaries: Sequence[int], alt: str) -> Picture:
    """Draws how many texts have each length, and the padded lengths as dashed lines."""
    figure, axes = _axes(7.2, 2.8)
    axes.hist(lengths, bins=60, color=COLOURS[0], alpha=0.75)
    for boundary in boundaries:
        axes.axvline(boundary, color=COLOURS[1], linestyle="--", linewidth=1.3)
    axes.set_xlabel("words of a text (dashed: the lengths that batches are padded to)", color=QUIET)
    axes.set_ylabel("texts", color=QUIET)
    return Picture(figure, alt)


def masks(batches: Mapping[str, np.ndarray], alt: str) -> Picture:
    """Draws masks `[batch, time]`, real steps dark, all at the same scale of time."""
    width = max(mask.shape[1] for mask in batches.values())
    figure = Figure(figsize=(7.2, 1.5 * len(batches) + 0.4), layout="constrained")
    rows = figure.subplots(len(batches), 1, squeeze=False)[:, 0]
    for axes, (name, mask) in zip(rows, batches.items(), strict=True):
        shades = np.full((len(mask), width), np.nan)
        shades[:, : mask.shape[1]] = np.where(mask, 0.85, 0.2)
        axes.imshow(shades, cmap="Blues", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
        axes.set_title(name, loc="left", color=INK, fontsize=9)
        axes.set_yticks([])
        axes.tick_params(color=LINE, labelcolor=QUIET, labelsize=9)
    rows[-1].set_xlabel("step (dark: a word, pale: padding)", color=QUIET)
    return Picture(figure, alt)


def word_map(points: np.ndarray, words: Sequence[str], alt: str) -> Picture:
    """Writes words at the places of their vectors `[words, 2]`."""
    figure, axes = _axes(7.2, 4.2)
    axes.scatter(*points.T, s=8, color=COLOURS[0])
    for (x, y), word in zip(points, words, strict=True):
        axes.annotate(word, (x, y), (3, 3), textcoords="offset points", fontsize=8.5, color=INK)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(visible=False)
    return Picture(figure, alt)


def unrolled(words: Sequence[str], output: str) -> Picture:
    """Draws a recurrent layer unrolled over words: one cell, many steps, a state handed on."""
    count = len(words)
    figure = Figure(figsize=(1.7 * count + 1.6, 2.9), layout="constrained")
    axes = figure.add_subplot()
    axes.axis("off")

    def box(x: float, y: float, text: str, colour: str) -> None:
        style = "round,pad=0.02,rounding_size=0.08"
        patch = FancyBboxPatch((x - 0.36, y - 0.2), 0.72, 0.4, style, facecolor="white")
        patch.set(edgecolor=colour, linewidth=1.6)
        axes.add_patch(patch)
        axes.text(x, y, text, ha="center", va="center", color=INK, fontsize=11)

    def arrow(start: tuple[float, float], end: tuple[float, float], text: str = "") -> None:
        style: dict[str, Any] = {"arrowstyle": "-|>", "mutation_scale": 12, "color": QUIET}
        axes.add_patch(FancyArrowPatch(start, end, **style))
        x, y = (start[0] + end[0]) / 2, (start[1] + end[1]) / 2
        axes.text(x, y + 0.08, text, ha="center", va="bottom", color=QUIET, fontsize=9)

    for step, word in enumerate(words):
        box(step, 0, word, LINE)
        box(step, 1, "cell", COLOURS[0])
        arrow((step, 0.22), (step, 0.78))
        arrow((step - 0.64, 1), (step - 0.38, 1), f"$s_{step}$")
    arrow((count - 0.62, 1), (count - 0.36, 1), f"$s_{count}$")
    box(count + 0.05, 1, output, COLOURS[2])
    axes.set_xlim(-0.75, count + 0.5)
    axes.set_ylim(-0.3, 1.4)
    alt = (
        f"The same cell is drawn {count} times, once for each of the words {', '.join(words)}. "
        f"Each reads its word and the state of the step before; the last state gives the {output}."
    )
    return Picture(figure, alt)


def heat_maps(maps: Mapping[str, np.ndarray], words: Sequence[str], alt: str) -> Picture:
    """Draws a heat map `[words, units]` for each name, with a column for each word."""
    figure = Figure(figsize=(max(6.0, 0.62 * len(words) + 1.6), 1.25 * len(maps) + 0.6))
    figure.set_layout_engine("constrained")
    rows = figure.subplots(len(maps), 1, squeeze=False)[:, 0]
    for axes, (name, values) in zip(rows, maps.items(), strict=True):
        is_gate = values.min() >= 0 and values.max() <= 1
        limit = 1.0 if is_gate else float(np.abs(values).max())
        options = {"cmap": "Greens", "vmin": 0} if is_gate else {"cmap": "RdBu", "vmin": -limit}
        image = axes.imshow(values.T, aspect="auto", vmax=limit, **options)
        bar = figure.colorbar(image, ax=axes, pad=0.01, ticks=[options["vmin"], limit])
        bar.ax.tick_params(labelsize=8, labelcolor=QUIET)
        axes.set_ylabel(name, color=INK, fontsize=9)
        axes.set_yticks([])
        axes.set_xticks([])
    rows[-1].set_xticks(range(len(words)), words, rotation=35, ha="right", fontsize=9)
    return Picture(figure, alt)
