"""Small SVG plots with a width of one per token, in the colours of the page."""

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup, escape

_SHADES = 12


def unit_height(units: int) -> int:
    """Returns the height of a unit in pixels, larger for few units."""
    return min(14, max(6, 180 // units))


def has_unit_labels(units: int) -> bool:
    """Returns whether the rows of units are high enough for labels and gaps."""
    return unit_height(units) > 10


def _svg(columns: int, top: float, height: float, content: str, label: str) -> Markup:
    # The page stretches it to the columns of the tokens.
    return Markup(
        f'<svg viewBox="0 {top:g} {columns} {height:g}" preserveAspectRatio="none" '
        f'role="img" aria-label="{escape(label)}">{content}</svg>'
    )


def bars(values: np.ndarray, label: str) -> Markup:
    """Draws a bar for each value, above or below zero; the label is for screen readers."""
    heights = values / (np.abs(values).max() or 1.0)
    kinds = {"above": heights > 0, "below": heights < 0}
    paths = [
        f'<path class="{kind}" d="'
        + "".join(f"M{at + 0.15:g} 0h.7v{-heights[at]:.3f}h-.7z" for at in np.flatnonzero(mask))
        + '"/>'
        for kind, mask in kinds.items()
    ]
    axis = f'<path class="axis" d="M0 0H{len(values)}"/>'
    return _svg(len(values), -1, 2, f"{axis}{''.join(paths)}", label)


def line_chart(probabilities: np.ndarray, ranked: Sequence[int], label: str) -> Markup:
    """Draws a line for each outcome, the first of the ranked ones on top.

    Args:
      probabilities: of each outcome after each token.
      ranked: outcomes.
      label: for screen readers.
    """
    count = len(probabilities)
    axes = "".join(f'<path class="axis" d="M0 {at}H{count}"/>' for at in (0, 0.5, 1))
    lines = []
    for outcome in reversed(ranked):
        points = [f"{at + 0.5:g} {1 - p:.4f}" for at, p in enumerate(probabilities[:, outcome])]
        # From edge to edge, so that a single token has a line as well.
        first, last = (point.split()[1] for point in (points[0], points[-1]))
        path = f"M0 {first}L{'L'.join(points)}L{count} {last}"
        lines.append(f'<path class="line outcome-{outcome}" d="{path}"/>')
    return _svg(count, -0.02, 1.04, axes + "".join(lines), label)


def heat_map(kinds: dict[str, np.ndarray], label: str) -> Markup:
    """Draws a heat map, darker for larger values.

    Args:
      kinds: values up to 1, `[units, tokens]`, by the class of their colour; negative values are
        blank.
      label: for screen readers.
    """
    units, columns = next(iter(kinds.values())).shape
    height = 1 - 1 / unit_height(units) if has_unit_labels(units) else 1.0
    paths = []
    for kind, values in kinds.items():
        shades = np.round(np.clip(values, 0, 1) * _SHADES).astype(int)
        for shade in range(1, _SHADES + 1):
            cells = [
                f"M{start} {unit}h{end - start}v{height:.3f}h{start - end}z"
                for unit, row in enumerate(shades)
                for start, end in _true_runs(row == shade)
            ]
            if cells:
                opacity = f"{shade / _SHADES:.2f}"
                path = f'<path class="{kind}" fill-opacity="{opacity}" d="{"".join(cells)}"/>'
                paths.append(path)
    return _svg(columns, 0, units, "".join(paths), label)


def _true_runs(mask: np.ndarray) -> list[tuple[int, int]]:
    """Returns start and end of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(np.int8), [0]])))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
