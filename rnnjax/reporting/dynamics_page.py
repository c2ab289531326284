"""HTML page of the dynamics of a trained network."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from rnnjax.reporting import dynamics_plots as draw
from rnnjax.reporting.templates import fill

_MANY_UNITS = 24
_SATURATED = 0.01
"""Share of steps from which a plot of the saturation shows something."""
_MAX_CLASSES = 8
_COLOURS = ("train", "validation", "test", "quiet")
"""Of the gates, as the plots have them; further ones share the last."""
_MARKS = "●■◆▲▼✚★✖"
"""Of the inputs, as the plots have them."""


def render(values: Mapping[str, Any]) -> str:
    """Renders the page.

    Args:
      values: of an analysis, `rnnjax.dynamics.analysis.Dynamics`.
    """
    padding = values["padding"]
    layers = [_layer(number, layer, values) for number, layer in enumerate(values["layers"])]
    return fill(
        "dynamics.html.j2",
        "dynamics.css",
        values=values,
        layers=layers,
        classes=list(enumerate(values["classes"])),
        padding=padding and _padding(padding),
        steps=_steps,
    )


def _steps(value: float) -> str:
    """Formats a number of steps."""
    if not math.isfinite(value):
        return "∞"
    return f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def _padding(values: Mapping[str, Any]) -> dict[str, Any]:
    rows = [
        {
            "steps": step,
            "gain": values["gain"][index],
            "norm": values["norm"][index],
            "spread": values["spread"][index],
            "accuracy": None if values["accuracy"] is None else values["accuracy"][index],
        }
        for index, step in enumerate(np.asarray(values["steps"]).tolist())
        if step in (0, 1, 2, 4, 8, 16, 32, 64)
    ]
    accuracy = values["accuracy"]
    return {
        **values,
        "rows": rows,
        "gain_plot": draw.padding("gain", values, "gain"),
        "accuracy_plot": None if accuracy is None else draw.padding("after", values, "accuracy"),
    }


def _layer(number: int, layer: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the plots and the tables of a layer."""
    units, probes = layer["units"], layer["probes"]
    reach = layer["gradient_reach"], layer["initial_gradient_reach"]
    constants = np.asarray(units["time_constants"], float)
    finite = constants[np.isfinite(constants)]
    plots = {
        "reach": draw.gradient_reach(f"reach{number}", *reach),
        "lyapunov": draw.lyapunov(f"lyapunov{number}", layer["lyapunov"]),
        "plane": draw.plane(
            f"plane{number}", layer["plane"], layer["points"], values["classes"][:_MAX_CLASSES]
        ),
    }
    constants_name, words_name = f"constants{number}", f"words{number}"
    plots |= {
        "saturation": _is_saturated(units["gates"])
        and draw.saturation(f"saturation{number}", units["gates"]),
        "constants": finite.size > 1 and draw.time_constants(constants_name, finite.tolist()),
        "words": probes["words"] and draw.word_probes(words_name, probes["words"], values["unit"]),
    }
    return {
        **layer,
        "plots": plots,
        "inputs": [
            (mark, name, points)
            for mark, (name, points) in zip(_MARKS, layer["points"].items(), strict=False)
        ],
        "gates": [
            _gate(name, gate) | {"colour": _COLOURS[min(index, len(_COLOURS) - 1)]}
            for index, (name, gate) in enumerate(units["gates"].items())
        ],
        "constants": _quartiles(finite),
        "retention_gate": units["retention_gate"].partition(" (")[0],
        "dead": [(part, _listed(dead)) for part, dead in units["dead"].items() if dead],
        "duplicates": [
            (part, _listed([f"{first} and {second}" for first, second in pairs]))
            for part, pairs in units["duplicates"].items()
            if pairs
        ],
    }


def _gate(name: str, gate: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "mean": float(np.mean(gate["mean"])),
        "closed": float(np.mean(gate["closed"])),
        "open": float(np.mean(gate["open"])),
        "still": int(np.sum(gate["still"])),
        "units": len(gate["mean"]),
    }


def _is_saturated(gates: Mapping[str, Any]) -> bool:
    """Returns whether a unit is closed, or open, at one step of a hundred or more."""
    shares = [gate[key] for gate in gates.values() for key in ("closed", "open")]
    return any(np.max(share) >= _SATURATED for share in shares)


def _quartiles(values: np.ndarray) -> list[float]:
    return np.quantile(values, (0, 0.25, 0.5, 0.75, 1)).tolist() if values.size else []


def _listed(items: list[Any]) -> str:
    more = len(items) - _MANY_UNITS
    text = ", ".join(map(str, items[:_MANY_UNITS]))
    return f"{text} and {more} more" if more > 0 else text
