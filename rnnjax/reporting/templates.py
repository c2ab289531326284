"""Self-contained HTML pages: templates, filters and style sheets."""

import math
from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup, escape

_MAX_CHARACTERS = 600


def fill(template: str, *styles: str, **values: Any) -> str:
    """Renders a template of this folder with the style sheet of the report.

    Args:
      template: file name.
      *styles: file names of further style sheets of this folder.
      **values: variables of the template, escaped unless they are `Markup`.
    """
    folder = resources.files("rnnjax.reporting")
    sheets = [folder.joinpath(name).read_text("utf-8") for name in ("report.css", *styles)]
    environment = _environment("rnnjax.reporting")
    # Style sheets are trusted; values from the run are escaped.
    return environment.get_template(template).render(css=Markup("\n".join(sheets)), **values)


def load_macros(package: str, template: str, **values: Any) -> Any:
    """Returns the macros of a template as functions that return `Markup`.

    Args:
      package: in whose folder the template is.
      template: file name.
      **values: variables of the template, escaped unless they are `Markup`.
    """
    return _environment(package).get_template(template).make_module(values)


def _environment(package: str) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(package, "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "count": _count,
        "decimal": _decimal,
        "percent": format_percent,
        "duration": _duration,
        "shortened": _shortened,
        "position": _position,
        "visible": visible,
    }
    return environment


def notebook_frame(page: str, height: int = 720) -> str:
    """Returns a page in a frame of its own, for the output of a notebook's cell.

    Args:
      page: complete, self-contained HTML.
      height: of the frame in pixels.
    """
    style = f"width: 100%; height: {height}px; border: 0"
    return f'<iframe srcdoc="{escape(page)}" style="{style}" sandbox></iframe>'


def visible(token: str) -> str:
    """Returns a token with visible white space."""
    return token.strip() or {"\n": "\N{DOWNWARDS ARROW WITH CORNER LEFTWARDS}"}.get(
        token, "\N{OPEN BOX}"
    )


def _count(value: int | None) -> str:
    return "\N{EN DASH}" if value is None else f"{value:,}"


def _decimal(value: float | None, digits: int = 3) -> str:
    return "\N{EN DASH}" if value is None else f"{value:,.{digits}f}"


def format_percent(value: float | None, digits: int = 1) -> str:
    """Formats a share in percent."""
    return (
        "\N{EN DASH}"
        if value is None or math.isnan(value)
        else f"{100 * value:.{digits}f}\N{NBSP}%"
    )


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {seconds:02} s"


def _shortened(text: str) -> str:
    text = " ".join(text.split()) or "(nothing)"
    return text if len(text) <= _MAX_CHARACTERS else text[:_MAX_CHARACTERS].rstrip() + "…"


def _position(value: float, low: float = 0.0, high: float = 1.0) -> str:
    """Returns a position between two ends in CSS."""
    return f"{100 * (value - low) / (high - low):.2f}%"
