"""Drawings as SVG that are one wide for each word, and take their colours from the page."""

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

_SHADES = 12


def unit_height(units: int) -> int:
    """Returns the pixels of a unit: few are drawn large."""
    return min(14, max(6, 180 // units))


def numbered(units: int) -> bool:
    """Returns whether there is room for the number of each unit, and a pixel between two."""
    return unit_height(units) > 10


def _svg(columns: int, top: float, height: float, inside: str) -> Markup:
    # It is stretched to the words under which it stands.
    return Markup(
        f'<svg viewBox="0 {top:g} {columns} {height:g}" preserveAspectRatio="none" '
        f'aria-hidden="true">{inside}</svg>'
    )


def bars(values: np.ndarray) -> Markup:
    """Returns a bar for each value, above or below zero."""
    heights = values / (np.abs(values).max() or 1.0)
    kinds = {"above": heights > 0, "below": heights < 0}
    paths = [
        f'<path class="{kind}" d="'
        + "".join(f"M{at + 0.15:g} 0h.7v{-heights[at]:.3f}h-.7z" for at in np.flatnonzero(which))
        + '"/>'
        for kind, which in kinds.items()
    ]
    return _svg(len(values), -1, 2, f'<path class="axis" d="M0 0H{len(values)}"/>{"".join(paths)}')


def lines(probabilities: np.ndarray, ranked: Sequence[int]) -> Markup:
    """Returns a line for each outcome, the first of the ranked ones on top."""
    count = len(probabilities)
    axes = "".join(f'<path class="axis" d="M0 {at}H{count}"/>' for at in (0, 0.5, 1))
    lines = []
    for outcome in reversed(ranked):
        points = [f"{at + 0.5:g} {1 - p:.4f}" for at, p in enumerate(probabilities[:, outcome])]
        # From edge to edge, so that a single word has a line as well.
        first, last = (point.split()[1] for point in (points[0], points[-1]))
        path = f"M0 {first}L{'L'.join(points)}L{count} {last}"
        lines.append(f'<path class="line outcome-{outcome}" d="{path}"/>')
    return _svg(count, -0.02, 1.04, axes + "".join(lines))


def heat(kinds: dict[str, np.ndarray]) -> Markup:
    """Returns cells that are the darker the larger their value is.

    Args:
      kinds: values up to 1, `[units, tokens]`, by the class of their colour; what is below 0 is
        left blank.
    """
    units, columns = next(iter(kinds.values())).shape
    height = 1 - 1 / unit_height(units) if numbered(units) else 1.0
    paths = []
    for kind, values in kinds.items():
        shades = np.round(np.clip(values, 0, 1) * _SHADES).astype(int)
        for shade in range(1, _SHADES + 1):
            cells = [
                f"M{start} {unit}h{end - start}v{height:.3f}h{start - end}z"
                for unit, row in enumerate(shades)
                for start, end in _runs(row == shade)
            ]
            if cells:
                opacity = f"{shade / _SHADES:.2f}"
                path = f'<path class="{kind}" fill-opacity="{opacity}" d="{"".join(cells)}"/>'
                paths.append(path)
    return _svg(columns, 0, units, "".join(paths))


def _runs(which: np.ndarray) -> list[tuple[int, int]]:
    """Returns where each stretch of True begins and ends."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], which.astype(np.int8), [0]])))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
