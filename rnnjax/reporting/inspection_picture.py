"""Picture of an inspection as an SVG file: the rows of the page's sheets, without the page."""

from collections.abc import Iterator, Sequence
from importlib import resources

from markupsafe import escape

from rnnjax.reporting.inspection_page import PageRow, Sheet, TextInspection, make_sheet
from rnnjax.reporting.templates import format_percent, visible

_LABEL, _MARGIN, _GAP, _LINE = 190, 24, 10, 20
_COLUMNS = {"large": 92, "medium": 44, "small": 24}
"""Width of a token by the layout of its sheet."""
_SLANTED = 84
"""Height of words that are slanted, where the columns are narrow."""


def draw(inspections: Sequence[TextInspection]) -> str:
    """Draws texts below each other, as an SVG file with colours for light and dark screens.

    Args:
      inspections: at least one.
    """
    elements: list[str] = []
    y, width = _MARGIN, 0
    for inspection in inspections:
        sheet = make_sheet(inspection)
        content = len(sheet.tokens) * _COLUMNS[sheet.layout]
        width = max(width, _LABEL + content + 2 * _MARGIN + (60 if sheet.layout == "medium" else 0))
        answer = sheet.answer
        title = f"{visible(answer.name)} {format_percent(answer.probability)}"
        elements.append(_text(_MARGIN, y + 14, title, "strong"))
        if sheet.has_lines:
            elements.append(_legend(sheet, y + 14))
        y += _LINE + _GAP
        for row in sheet.rows:
            height = _height(row, sheet)
            elements += _row(row, sheet, y, content, height)
            y += height + _GAP
        y += _MARGIN
    folder = resources.files("rnnjax.reporting")
    colours, rules = (folder.joinpath(f"{name}.css").read_text("utf-8") for name in _SHEETS)
    style = f"{colours[: colours.index('* {')]}{rules}{_STYLE}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{y}" '
        f'viewBox="0 0 {width} {y}">\n<style><![CDATA[\n{style}]]></style>\n'
        + "\n".join(elements)
        + "\n</svg>\n"
    )


_SHEETS = ("report", "inside")
_STYLE = """svg { background: var(--paper); }
text { font: 13px var(--sans); fill: var(--ink); }
text.quiet { font-size: 11px; fill: var(--quiet); }
text.strong { font-size: 15px; font-weight: 600; }
""" + "".join(f".outcome-{number} {{ stroke: var(--outcome-{number}); }}\n" for number in range(8))


def _height(row: PageRow, sheet: Sheet) -> int:
    if row.kind == "tokens":
        return _SLANTED if sheet.layout == "medium" else _LINE
    if row.kind == "ranks":
        return _LINE * max(len(token.ranks) for token in sheet.tokens)
    return row.height or {"title": _LINE, "bars": 72, "lines": 128}[row.kind]


def _row(row: PageRow, sheet: Sheet, y: int, width: int, height: int) -> Iterator[str]:
    """Yields the elements of a row: its label, and its plot or its words."""
    x, column = _MARGIN + _LABEL, width // len(sheet.tokens)
    if row.label:
        yield _text(_MARGIN, y + 13, row.label, "strong" if row.kind == "title" else "")
    is_mirrored = sheet.direction == "rtl"

    def centre(index: int) -> float:
        place = len(sheet.tokens) - 1 - index if is_mirrored else index
        return x + (place + 0.5) * column

    if row.kind in ("tokens", "ranks"):
        for index, token in enumerate(sheet.tokens):
            names = [token.text] if row.kind == "tokens" else [name for name, _ in token.ranks]
            for line, name in enumerate(names):
                at, bottom = centre(index), y + _LINE * (line + 1) - 6
                if sheet.layout == "medium" and row.kind == "tokens":
                    turn = f"rotate(-52 {at:g} {y + height:g})"
                    yield _text(at, y + height, visible(name), transform=turn)
                else:
                    yield _text(at, bottom, visible(name), anchor="middle")
    elif row.plot:
        box = f'<svg x="{x}" y="{y}" width="{width}" height="{height}" '
        plot = str(row.plot).replace("<svg ", box, 1)
        mirror = f'<g transform="translate({2 * x + width} 0) scale(-1 1)">{plot}</g>'
        yield mirror if is_mirrored else plot


def _legend(sheet: Sheet, y: int) -> str:
    """Returns the names of the outcomes in the colours of their lines."""
    names = " ".join(
        f'<tspan dx="10" style="fill: var(--outcome-{outcome.index})">'
        f"{escape(outcome.name)} {format_percent(outcome.probability)}</tspan>"
        for outcome in sheet.outcomes
    )
    return f'<text x="{_MARGIN + _LABEL}" y="{y}">{names}</text>'


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "", transform: str = ""):
    names = {"class": kind, "text-anchor": anchor, "transform": transform}
    attributes = "".join(f' {name}="{value}"' for name, value in names.items() if value)
    return f'<text x="{x:g}" y="{y:g}"{attributes}>{escape(text)}</text>'
